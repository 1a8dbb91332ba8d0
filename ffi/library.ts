/**
 * Finds the native parts of the host, and opens the helper library at its first use.
 *
 * A part is the file that its variable names (`HUTCH_HELPER`, …); else the one in `build/` beside
 * these modules; else, where they came from a URL, what {@link prepareParts} puts into hutch's cache.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder } from "../src/cache_folder.ts";
import { errorText, HutchError } from "../src/errors.ts";
import { isCompiled } from "../src/own_process.ts";
import { type NativeLibrary, openLibrary } from "./open_library.ts";
import { PART_NAMES, type PartName, PARTS, PREBUILT } from "./parts.ts";
import { SOURCES } from "./sources.ts";
import { SYMBOLS } from "./symbols.ts";

/** The opened library. */
export type Helper = NativeLibrary<typeof SYMBOLS>["symbols"];

/** Where `mod.ts` is. */
const BASE = new URL("../", import.meta.url);

let opened: Helper | undefined;
/** Why an optional part couldn't be got. */
const problems = new Map<PartName, string>();

/** Where the helper library is, whether or not it is there. */
export function helperPath(): string {
  return partPath("helper");
}

/** Where the agent's program file is, whether or not it is there. */
export function agentPath(): string {
  return partPath("agent");
}

/** Where the library that box processes load is, whether or not it is there. */
export function boxLibraryPath(): string {
  return partPath("box");
}

/** Where the program that shares folders with guests is, whether or not it is there. */
export function sharePath(): string {
  return partPath("share");
}

/** Where the program that is a box's network is, whether or not it is there. */
export function netPath(): string {
  return partPath("net");
}

/** What makes a part that is missing. */
export function partRemedy(): string {
  return BASE.protocol === "file:" ? "deno task build" : "install a C compiler";
}

/** What to do about a part that is missing, as an error's hint. */
export function partHint(name: PartName): string {
  const { variable } = PARTS[name];
  const [first, rest] = name === "net"
    ? ["apt-get install libslirp-dev && ", ", or take the network none"]
    : ["", ""];
  return BASE.protocol === "file:"
    ? `build it (${first}deno task build), or name it with ${variable}${rest}`
    : `install a C compiler${
      name === "net" ? " and libslirp-dev" : ""
    }, or name a built one with ${variable}${rest}`;
}

/** Why a part that is missing is missing. */
export function partProblem(name: PartName): string {
  return problems.get(name) ?? `there is no ${partPath(name)}`;
}

/** The error that a part isn't there; `what` needs it: "mount volumes". */
export function missingPart(name: PartName, what: string): HutchError {
  return new HutchError("part_missing", `Cannot ${what}: ${partProblem(name)}`, {
    hint: partHint(name),
  });
}

/**
 * The library's functions. It stays open until the program ends.
 *
 * @throws HutchError `part_missing` when it isn't there or can't be loaded.
 */
export function helper(): Helper {
  if (opened) return opened;
  const path = helperPath();
  try {
    opened = openLibrary(path, SYMBOLS).symbols;
    return opened;
  } catch (error) {
    throw new HutchError("part_missing", `Cannot load the helper ${path}: ${errorText(error)}`, {
      hint: partHint("helper"),
      cause: error,
    });
  }
}

/**
 * Sees to it that the parts are there. Does nothing in a checkout, where `deno task build` does; for
 * modules from a URL it fetches or compiles what hutch's cache doesn't have, for all programs to come.
 *
 * @throws HutchError `part_missing` for one that no box can do without; `no_space`.
 */
export async function prepareParts(): Promise<void> {
  if (BASE.protocol === "file:") return;
  const absent = PART_NAMES.filter((name) => {
    if (Deno.env.get(PARTS[name].variable)) return false;
    const { prebuilt } = prebuiltOf(name); // one that is there is looked at again
    return (prebuilt && isFile(prebuilt.path)) || !isFile(compiledPath(name));
  });
  if (absent.length === 0) return;
  const { obtainPart } = await import("./obtain.ts");
  for (const name of absent) {
    const part = PARTS[name];
    try {
      await obtainPart({
        part,
        base: BASE,
        ...prebuiltOf(name),
        sources: { digests: SOURCES, path: compiledPath(name) },
      });
    } catch (error) {
      if (part.optional !== true) throw error;
      problems.set(name, errorText(error));
    }
  }
}

/** Where a part is, whether or not it is there. */
export function partPath(name: PartName): string {
  const { file, variable } = PARTS[name];
  const named = Deno.env.get(variable);
  if (named) return named;
  if (BASE.protocol === "file:") {
    const built = fileURLToPath(new URL(`build/${file}`, BASE));
    if (isCompiled()) return unpacked(file, built);
    const { prebuilt } = prebuiltOf(name); // of a release's archive
    return prebuilt && !isFile(built) ? fileURLToPath(new URL(prebuilt.file, BASE)) : built;
  }
  const { prebuilt } = prebuiltOf(name);
  return prebuilt && isFile(prebuilt.path) ? prebuilt.path : compiledPath(name);
}

const unpackedPaths = new Map<string, string>();

/**
 * A file that a compiled program has in itself, in hutch's cache: Deno alone sees it where it is.
 * Its own path where the program was compiled without it.
 */
function unpacked(file: string, embedded: string): string {
  const known = unpackedPaths.get(file);
  if (known !== undefined) return known;
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(embedded);
  } catch {
    return embedded;
  }
  const digest = sha256(bytes);
  const path = join(cacheFolder(), "native", digest, file);
  if (!isFile(path) || sha256(readFileSync(path)) !== digest) {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const temporary = `${path}.${crypto.randomUUID()}.new`;
    try {
      writeFileSync(temporary, bytes, { mode: 0o700 });
      renameSync(temporary, path); // whoever else is at it has the same bytes
    } finally {
      rmSync(temporary, { force: true });
    }
  }
  unpackedPaths.set(file, path);
  return path;
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function prebuiltOf(
  name: PartName,
): {
  readonly prebuilt?: { readonly file: string; readonly sha256: string; readonly path: string };
} {
  const sha256 = PREBUILT[Deno.build.target]?.[name];
  if (sha256 === undefined) return {};
  const { file } = PARTS[name];
  return {
    prebuilt: {
      sha256,
      file: `prebuilt/${Deno.build.target}/${file}`,
      path: join(cacheFolder(), "native", sha256, file),
    },
  };
}

let compiledFolder: string | undefined;

/** In a folder for all that goes into the file: the sources, and how they are made into it. */
function compiledPath(name: PartName): string {
  compiledFolder ??= createHash("sha256")
    .update(JSON.stringify([Deno.build.target, PARTS, SOURCES])).digest("hex");
  return join(cacheFolder(), "native", compiledFolder, PARTS[name].file);
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
