/**
 * The engine `libkrun`: machines in the box process itself, through the library libkrun. Needs a
 * KVM that works (Linux) or Hypervisor.framework (macOS; the code is there and was never run).
 *
 * Options: none. Overrides: `HUTCH_LIBKRUN` names the library, `HUTCH_LIBKRUNFW` the one with the
 * kernel.
 *
 * @example
 * ```ts
 * import { Runtime } from "../../mod.ts";
 * await using runtime = await Runtime.open(); // it is on by default
 * const { engines } = await runtime.doctor();
 * const engine = engines.find(({ name, usable }) => name === "libkrun" && usable) ? "libkrun" : "auto";
 * await using box = await runtime.create({ image: "builtin:busybox", engine });
 * console.log((await box.exec("uname", ["-r"])).stdout);
 * ```
 * @module
 */
import {
  definePlugin,
  type Engine,
  type EnginePart,
  type EngineReport,
  findLibrary,
  libraryVersion,
  type Plugin,
  whyNotFound,
} from "../../mod.ts";
import { loadLibkrun } from "./libkrun_symbols.ts";

const LIBRARY_NAMES = Deno.build.os === "darwin"
  ? ["libkrun.1.dylib", "libkrun.dylib"]
  : ["libkrun.so.1"];
/** Where `scripts/setup` puts the npm package, below hutch's cache. */
const OWN_LIBRARY =
  "tools/node_modules/@earendil-works/gondolin-krun-runner-linux-x64/lib/libkrun.so.1";

/** Makes the plugin with the engine `libkrun`. */
export function libkrun(): Plugin {
  return definePlugin({ name: "libkrun", engines: [engine()] });
}

function engine(): Engine {
  return {
    name: "libkrun",
    runner: import.meta.resolve("./libkrun_runner.ts"),
    async probe(options) {
      const library = await findLibrary("HUTCH_LIBKRUN", LIBRARY_NAMES, [OWN_LIBRARY]);
      const kvm = await options.kvm();
      // Loading is the proof, but costs some milliseconds: not where the answer is no anyway.
      const problem = library !== undefined && (kvm.usable || options.versions)
        ? loadingProblem(library)
        : undefined;
      return {
        usable: library !== undefined && problem === undefined && kvm.usable,
        isolated: true,
        rank: 30,
        parts: { library: library ?? "" },
        permissions: library === undefined ? {} : { ffi: [library] },
        found: [await part(library, problem)],
      } satisfies EngineReport;
    },
  };
}

/** Libraries that this program has loaded, by path, time and inode. */
const loaded = new Set<string>();

function loadingProblem(path: string): string | undefined {
  try {
    const { mtime, ino } = Deno.statSync(path);
    const identity = JSON.stringify([path, mtime?.getTime(), ino]);
    if (loaded.has(identity)) return undefined;
    loadLibkrun(path).close();
    loaded.add(identity);
    return undefined;
  } catch (error) {
    return `it can't be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
}

async function part(library: string | undefined, problem: string | undefined): Promise<EnginePart> {
  const ours = import.meta.url.startsWith("file:") ? "scripts/setup" : "install libkrun";
  const remedy = Deno.build.os === "darwin" ? "brew install libkrun" : ours;
  if (library === undefined) {
    return { name: "libkrun", problem: whyNotFound("HUTCH_LIBKRUN"), remedy };
  }
  const version = await libraryVersion(library);
  return {
    name: "libkrun",
    path: library,
    ...(version === undefined ? {} : { version }),
    ...(problem === undefined ? {} : { problem, remedy }),
  };
}
