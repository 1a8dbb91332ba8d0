/**
 * What is here, what is missing, and how to mend it.
 *
 * @module
 */
import { type ConfinementReport, confinementSupport } from "../../ffi/helper.ts";
import { exists } from "../atomic_file.ts";
import type { Engine, EnginePart, KvmReport } from "../vmm/engine.ts";
import { libraryVersion, whyNotFound } from "../vmm/find.ts";
import { probeEngines } from "../vmm/select.ts";
import { findKernelLibrary, KERNEL_VARIABLE, kernelRemedy } from "./native.ts";
import { partPath, partProblem, partRemedy } from "../../ffi/library.ts";
import { PART_NAMES, type PartName, PARTS } from "../../ffi/parts.ts";

/** One engine as `doctor` sees it. */
export interface EngineHealth {
  /** Its name, as boxes ask for it. */
  readonly name: string;
  /** Whether boxes can run on it here. */
  readonly usable: boolean;
  /** Whether a guest on it is behind hardware virtualisation. */
  readonly isolated: boolean;
  /** Whether `auto` takes it. */
  readonly chosen: boolean;
  /** What it needs, found or not. */
  readonly found: readonly EnginePart[];
}

/** What `Runtime.doctor` finds; plain JSON, as `hutch doctor --json` prints it. */
export interface DoctorReport {
  /** Whether boxes can run here. */
  readonly ok: boolean;
  /** The home that was looked at. */
  readonly home: string;
  /** The configuration file in use. */
  readonly config?: string;
  /** Names of the plugins in use beside hutch's own. */
  readonly plugins: readonly string[];
  /** What the probe of KVM says. */
  readonly kvm: KvmReport;
  /** What this machine's kernel takes from box processes, beside what Deno does. */
  readonly confinement: ConfinementReport;
  /** What every engine needs. */
  readonly parts: readonly EnginePart[];
  /** The best first. */
  readonly engines: readonly EngineHealth[];
}

/** Looks at everything afresh. */
export async function examine(options: {
  readonly home: string;
  readonly config?: string;
  readonly plugins: readonly string[];
  readonly engines: readonly Engine[];
  readonly kvm: () => Promise<KvmReport>;
  readonly choose: (usable: readonly string[]) => Promise<string | undefined>;
}): Promise<DoctorReport> {
  const kvm = await options.kvm();
  const probed = await probeEngines(options.engines, {
    kvm: () => Promise.resolve(kvm),
    versions: true,
  });
  const usable = probed.filter(({ report }) => report.usable).map(({ engine }) => engine.name);
  const asked = usable.length > 0 ? await options.choose(usable) : undefined;
  const chosen = asked !== undefined && usable.includes(asked) ? asked : usable[0];
  const parts = [
    ...await Promise.all(PART_NAMES.map(filePart)),
    await kernelPart(),
  ];
  return {
    ok: chosen !== undefined &&
      parts.every((part) => part.problem === undefined || part.optional === true),
    home: options.home,
    ...options.config === undefined ? {} : { config: options.config },
    plugins: options.plugins,
    kvm,
    confinement: confinementSupport(),
    parts,
    engines: probed.map(({ engine, report }) => ({
      name: engine.name,
      usable: report.usable,
      isolated: report.isolated,
      chosen: engine.name === chosen,
      found: report.found,
    })),
  };
}

async function filePart(name: PartName): Promise<EnginePart> {
  const path = partPath(name);
  if (await exists(path)) return { name, path };
  const remedy = name === "net" ? `apt-get install libslirp-dev && ${partRemedy()}` : partRemedy();
  const optional = PARTS[name].optional === true ? { optional: true } as const : {};
  return { name, problem: partProblem(name), remedy, ...optional };
}

async function kernelPart(): Promise<EnginePart> {
  const path = await findKernelLibrary();
  if (path === undefined) {
    return {
      name: "libkrunfw",
      problem: whyNotFound(KERNEL_VARIABLE),
      remedy: Deno.build.os === "darwin" ? "brew install libkrunfw" : kernelRemedy(),
    };
  }
  const version = await libraryVersion(path);
  return { name: "libkrunfw", path, ...(version === undefined ? {} : { version }) };
}
