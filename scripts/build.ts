/**
 * Builds the native parts into `build/` with the system's C compiler (`CC`, else `cc`).
 *
 * A target is built again only when its sources, its flags or the compiler changed. Two builds at
 * once don't disturb each other: each writes files of its own and renames them into place.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** One thing to build from all `.c` files of some folders. */
export interface Target {
  /** Path of the result. */
  readonly output: string;
  /** Folders with the sources. */
  readonly sources: readonly string[];
  /** Folders whose headers the sources use as well. */
  readonly headers: readonly string[];
  /** Flags for compiling and for linking. */
  readonly flags: readonly string[];
  /** Flags for linking alone, after the objects. */
  readonly libraries: readonly string[];
  /** Linked only if a source includes this header: `{ "cbor.h": ["-lcbor"] }`. */
  readonly librariesByHeader?: Readonly<Record<string, readonly string[]>>;
  /** Largest size of the result in bytes. */
  readonly maxBytes?: number;
}

/** What became of a target. */
export type BuildResult = "built" | "fresh" | "no sources";

/** A compiler that failed; the message has its words. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

/** The project's targets, below its root folder. */
export function projectTargets(root: string): Target[] {
  const ffi = join(root, "ffi");
  const common = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"];
  return [
    {
      output: join(root, "build", "libhutch.so"),
      sources: [join(ffi, "helper"), join(ffi, "copy")],
      headers: [ffi],
      flags: [...common, "-fPIC", "-fvisibility=hidden", "-pthread"],
      libraries: ["-shared", "-Wl,-z,defs", "-lext2fs", "-lcom_err", "-larchive", "-ldl"],
    },
    {
      output: join(root, "build", "hutch-agent"),
      sources: [join(ffi, "agent"), join(ffi, "copy")],
      headers: [ffi],
      flags: [...common, "-ffunction-sections", "-fdata-sections", "-pthread"],
      libraries: ["-static", "-Wl,--gc-sections", "-s"],
      librariesByHeader: { "cbor.h": ["-lcbor"] },
      maxBytes: 1.5 * 1024 * 1024,
    },
    {
      output: join(root, "build", "hutch-share"),
      sources: [join(ffi, "share")],
      headers: [],
      flags: common,
      libraries: ["-s"],
    },
    {
      output: join(root, "build", "hutch-net"),
      sources: [join(ffi, "net")],
      headers: [],
      flags: common,
      libraries: ["-s", "-lslirp"],
    },
  ];
}

/** Builds `target` unless it is fresh. Throws {@link BuildError}. */
export async function buildTarget(
  target: Target,
  compiler: string = Deno.env.get("CC") || "cc",
): Promise<BuildResult> {
  const sources = target.sources.flatMap((folder) => filesOf(folder, ".c"));
  if (sources.length === 0) return "no sources";
  const libraries = librariesOf(target, sources);
  const digest = await inputDigest(target, sources, libraries, compiler);
  if (isFresh(target.output, digest)) return "fresh";
  const folder = dirname(target.output);
  Deno.mkdirSync(folder, { recursive: true });
  const work = Deno.makeTempDirSync({ dir: folder, prefix: ".build-" });
  try {
    const objects = await compileAll(target, sources, compiler, work);
    const result = join(work, "result");
    await run(compiler, [...target.flags, "-o", result, ...objects, ...libraries]);
    checkSize(target, result);
    const stamp = join(work, "stamp");
    Deno.writeTextFileSync(stamp, `${digest} ${fileDigest(result)}\n`);
    Deno.renameSync(result, target.output);
    Deno.renameSync(stamp, stampOf(target.output));
  } finally {
    Deno.removeSync(work, { recursive: true });
  }
  return "built";
}

function librariesOf(target: Target, sources: readonly string[]): string[] {
  const libraries = [...target.libraries];
  for (const [header, extra] of Object.entries(target.librariesByHeader ?? {})) {
    const used = sources.some((path) =>
      Deno.readTextFileSync(path).includes(`#include <${header}>`)
    );
    if (used) libraries.push(...extra);
  }
  return libraries;
}

async function inputDigest(
  target: Target,
  sources: readonly string[],
  libraries: readonly string[],
  compiler: string,
): Promise<string> {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([await run(compiler, ["--version"]), target.flags, libraries]));
  const headers = [...target.sources, ...target.headers].flatMap((folder) => filesOf(folder, ".h"));
  for (const path of [...sources, ...headers]) {
    const bytes = Deno.readFileSync(path);
    hash.update(JSON.stringify([path, bytes.length])).update(bytes);
  }
  return hash.digest("hex");
}

// The stamp names the result's own digest too: when two builds of different sources cross, the
// one whose stamp came last may not own the result that came last.
function isFresh(output: string, digest: string): boolean {
  try {
    return Deno.readTextFileSync(stampOf(output)) === `${digest} ${fileDigest(output)}\n`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function compileAll(
  target: Target,
  sources: readonly string[],
  compiler: string,
  work: string,
): Promise<string[]> {
  const objects = sources.map((_, index) => join(work, `${index}.o`));
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < sources.length; index = next++) {
      const [source, object] = [sources[index], objects[index]];
      if (source === undefined || object === undefined) return;
      const includes = target.headers.map((folder) => `-I${folder}`);
      await run(compiler, [...target.flags, ...includes, "-c", "-o", object, source]);
    }
  };
  const workers = Array.from({ length: navigator.hardwareConcurrency }, worker);
  const failed = (await Promise.allSettled(workers)).find((end) => end.status === "rejected");
  if (failed) throw failed.reason;
  return objects;
}

function checkSize(target: Target, result: string): void {
  const size = Deno.statSync(result).size;
  if (target.maxBytes !== undefined && size > target.maxBytes) {
    throw new BuildError(
      `Cannot build ${target.output}: its size is ${size} bytes, more than ${target.maxBytes}`,
    );
  }
}

async function run(compiler: string, args: string[]): Promise<string> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(compiler, { args, stdin: "null" }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new BuildError(
      `Cannot build: the C compiler "${compiler}" is not there (Debian: apt-get install gcc libc6-dev)`,
    );
  }
  const text = new TextDecoder();
  if (!output.success) {
    const words = (text.decode(output.stderr) + text.decode(output.stdout)).trimEnd();
    throw new BuildError(`Cannot build: ${compiler} failed\n${words}`);
  }
  return text.decode(output.stdout);
}

function filesOf(folder: string, ending: string): string[] {
  try {
    const names = [...Deno.readDirSync(folder)].filter((entry) => entry.isFile);
    return names.map((entry) => join(folder, entry.name)).filter((path) => path.endsWith(ending))
      .sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function fileDigest(path: string): string {
  return createHash("sha256").update(Deno.readFileSync(path)).digest("hex");
}

function stampOf(output: string): string {
  return `${output}.stamp`;
}

async function main(): Promise<number> {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  for (const target of projectTargets(root)) {
    const name = target.output.slice(root.length + 1);
    try {
      const result = await buildTarget(target);
      if (result === "built") console.error(`built ${name}`);
      if (result === "no sources") {
        console.error(`skipped ${name}: no sources in ${target.sources.join(", ")}`);
      }
    } catch (error) {
      if (!(error instanceof BuildError)) throw error;
      console.error(error.message);
      return 1;
    }
  }
  return 0;
}

if (import.meta.main) Deno.exit(await main());
