/**
 * What is here, what is missing, and how to mend it.
 *
 * @module
 */
import { exists } from "../atomic_file.ts";
import type { Engine, EnginePart, KvmReport } from "../vmm/engine.ts";
import { libraryVersion, whyNotFound } from "../vmm/find.ts";
import { probeEngines } from "../vmm/select.ts";
import { agentPath, findKernelLibrary, KERNEL_VARIABLE } from "./native.ts";
import { helperPath, netPath, sharePath } from "../../ffi/library.ts";

/** One engine as `doctor` sees it. */
export interface EngineHealth {
  readonly name: string;
  readonly usable: boolean;
  /** Whether a guest on it is behind hardware virtualisation. */
  readonly isolated: boolean;
  /** Whether `auto` takes it. */
  readonly chosen: boolean;
  readonly found: readonly EnginePart[];
}

/** What `Runtime.doctor` finds; plain JSON, as `hutch doctor --json` prints it. */
export interface DoctorReport {
  /** Whether boxes can run here. */
  readonly ok: boolean;
  readonly home: string;
  /** The configuration file in use. */
  readonly config?: string;
  /** Names of the plugins in use beside hutch's own. */
  readonly plugins: readonly string[];
  readonly kvm: KvmReport;
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
    await filePart("helper", helperPath(), "deno task build"),
    await filePart("agent", agentPath(), "deno task build"),
    await filePart("share", sharePath(), "deno task build"),
    await filePart("net", netPath(), "apt-get install libslirp-dev && deno task build"),
    await kernelPart(),
  ];
  return {
    ok: chosen !== undefined && parts.every((part) => part.problem === undefined),
    home: options.home,
    ...options.config === undefined ? {} : { config: options.config },
    plugins: options.plugins,
    kvm,
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

async function filePart(name: string, path: string, remedy: string): Promise<EnginePart> {
  return await exists(path) ? { name, path } : { name, problem: `there is no ${path}`, remedy };
}

async function kernelPart(): Promise<EnginePart> {
  const path = await findKernelLibrary();
  if (path === undefined) {
    return {
      name: "libkrunfw",
      problem: whyNotFound(KERNEL_VARIABLE),
      remedy: Deno.build.os === "darwin" ? "brew install libkrunfw" : "scripts/setup",
    };
  }
  const version = await libraryVersion(path);
  return { name: "libkrunfw", path, ...(version === undefined ? {} : { version }) };
}
