/**
 * What the box process of a start is given.
 *
 * @module
 */
import { boxLibraryPath, sharePath } from "../../ffi/library.ts";
import { exists } from "../atomic_file.ts";
import type { LayoutOutput, NetworkOutput } from "../plugin/contract.ts";
import type { MachineSpec } from "../vmm/engine.ts";
import type { BoxProcessOptions } from "../vmm/machine.ts";
import type { ProbedEngine } from "../vmm/select.ts";
import type { StartContext } from "./context.ts";
import { networkProcess } from "./network_stage.ts";

/** The part of a machine that its process is started with. */
type ProcessMachine =
  & Pick<MachineSpec, "folder" | "channelPath" | "controlPath" | "consolePath">
  & Partial<Pick<MachineSpec, "shares" | "locks">>;

/**
 * Puts it together.
 *
 * @throws HutchError `part_missing`.
 */
export async function processOptions(
  { box, preboot }: Pick<StartContext, "box" | "preboot">,
  { exitPath, lockPath, outputFolder, socketPath, ...own }: LayoutOutput,
  { engine: { engine, report }, machine, network }: {
    readonly engine: ProbedEngine;
    readonly machine: ProcessMachine;
    readonly network: NetworkOutput;
  },
): Promise<BoxProcessOptions> {
  const { folder, channelPath, controlPath, consolePath, shares, locks = [] } = machine;
  return {
    plan: {
      ...{ folder, socketPath, channelPath, controlPath, consolePath, lockPath, exitPath },
      sharesSocketPath: shares?.socketPath,
      library: boxLibraryPath(),
      runner: engine.runner,
      engine: report.parts,
      log: { folder: outputFolder, ...box.log },
      network: await networkProcess(box.id, network, own),
    },
    permissions: report.permissions,
    ...{ shares, locks },
    beside: engine.beside !== undefined && !shares && locks.length === 0 &&
      await exists(sharePath()) &&
      (preboot && report.preboots === true || await exists(own.memoryFolder)),
  };
}
