/**
 * The engine `qemu`: machines of type microvm, on KVM where it works, else by software emulation.
 * Emulation runs anywhere and isolates nothing.
 *
 * Options: none. Overrides: `HUTCH_QEMU` names the program, `HUTCH_VIRTIOFSD` the one that serves
 * volumes.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open(); // it is on by default
 * await using box = await runtime.create({ image: "builtin:busybox", engine: "qemu" });
 * console.log((await box.exec("uname", ["-r"])).stdout);
 * ```
 * @module
 */
import {
  definePlugin,
  type Engine,
  type EnginePart,
  type EngineProbeOptions,
  type EngineReport,
  findProgram,
  type Plugin,
  programVersion,
  whyNotFound,
} from "../../mod.ts";
import { sharePath } from "../../ffi/library.ts";
import { machineProgram } from "./qemu_arguments.ts";
import { qemuDiskSwitch, qemuMemory, qemuPauser } from "./qemu_monitor.ts";

const PROGRAM = "qemu-system-x86_64";

/** Which accelerator {@link qemu} may use. */
export interface QemuOptions {
  /** `auto` takes KVM when the probe says that it works. @default {"auto"} */
  readonly accelerator?: "auto" | "kvm" | "tcg";
}

/** Makes the plugin with the engine `qemu`. */
export function qemu(options: QemuOptions = {}): Plugin {
  return definePlugin({ name: "qemu", engines: [engine(options.accelerator ?? "auto")] });
}

function engine(accelerator: "auto" | "kvm" | "tcg"): Engine {
  return {
    name: "qemu",
    runner: import.meta.resolve("./qemu_runner.ts"),
    pauser: qemuPauser,
    diskSwitch: qemuDiskSwitch,
    memory: qemuMemory,
    // Others need what the box process serves them, or how fast its counter is.
    beside: (spec, options) => spec.resume ? machineProgram(spec, options) : undefined,
    async probe(options) {
      const program = await findProgram("HUTCH_QEMU", [PROGRAM]);
      const virtiofsd = await findProgram("HUTCH_VIRTIOFSD", ["virtiofsd"]);
      const kvm = accelerator === "tcg" ? undefined : await options.kvm();
      const useKvm = kvm?.usable === true;
      const usable = program !== undefined && (accelerator !== "kvm" || useKvm);
      return {
        usable,
        isolated: useKvm,
        rank: useKvm ? 20 : 10,
        preboots: !useKvm,
        parts: {
          program: program ?? "",
          virtiofsd: virtiofsd ?? "",
          share: sharePath(),
          accelerator: useKvm ? "kvm" : "tcg",
        },
        permissions: {},
        found: [
          await part("HUTCH_QEMU", PROGRAM, program, "qemu-system-x86", options),
          await part(
            "HUTCH_VIRTIOFSD",
            "virtiofsd",
            virtiofsd,
            "virtiofsd || apt-get install qemu-system-common", // Debian 12 has it in there
            options,
          ),
        ],
      } satisfies EngineReport;
    },
  };
}

async function part(
  variable: string,
  name: string,
  path: string | undefined,
  debianPackage: string,
  options: EngineProbeOptions,
): Promise<EnginePart> {
  if (path === undefined) {
    return {
      name,
      problem: whyNotFound(variable),
      remedy: `apt-get install ${debianPackage}`,
    };
  }
  const version = options.versions ? await programVersion(path) : undefined;
  return { name, path, ...(version === undefined ? {} : { version }) };
}
