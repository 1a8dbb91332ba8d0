/**
 * What the stages of a box's start work with.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { BoxConfig } from "../box/options.ts";
import type { GuestClient } from "../guest/client.ts";
import type { KeyPair } from "../network/intercept/authority.ts";
import type { BootOutput, ExecInput } from "../plugin/contract.ts";
import type { PluginHost } from "../plugin/host.ts";
import type { Paths } from "../runtime/paths.ts";
import type { DiskTable } from "../state/disks.ts";
import type { Engine, EngineProbeOptions, MachineDisk } from "../vmm/engine.ts";

/** One start of one box. */
export interface StartContext {
  readonly box: BoxConfig;
  /** The box as this program holds it, for plugins. */
  readonly handle: Box | undefined;
  readonly paths: Paths;
  readonly disks: DiskTable;
  readonly plugins: PluginHost;
  readonly signal: AbortSignal;
  /** The base disk of an image that was pulled, made if it isn't cached. */
  readonly baseDisk: (
    digest: string,
    signal: AbortSignal,
  ) => Promise<Pick<MachineDisk, "path" | "format">>;
  /** Kernel and system disk, made if they aren't cached. */
  readonly system: () => Promise<{ kernelPath: string; diskPath: string }>;
  /** Called when there is a box process, before the guest has answered. */
  readonly booted: (machine: BootOutput) => Promise<void>;
  /** Starts the box's main command as one that the box process holds. */
  readonly startMain: (guest: GuestClient, input: ExecInput) => Promise<{ pid: number }>;
  /** What boxes with secrets trust; made when the first of them starts. */
  readonly authority: () => Promise<KeyPair>;
  /** The value that the box's creator gave a secret, if this program is that. */
  readonly secretValue: (box: string, name: string) => string | undefined;
  /** Makes the box trust an authority. */
  readonly trust: (guest: GuestClient, certificate: string) => Promise<void>;
  /** Whether machines may go on from a boot that was kept. */
  readonly preboot: boolean;
  readonly log: (line: string) => void;
  readonly engines: readonly Engine[];
  readonly kvm: EngineProbeOptions["kvm"];
}
