/**
 * The native parts and how each is made: the one list that `deno task build` and programs which
 * import hutch from a URL go by.
 *
 * @module
 */
import { join } from "node:path";
import type { Target } from "./build.ts";

/** Name of a native part. */
export type PartName = "helper" | "agent" | "box" | "share" | "net";

/** A native part. */
export interface Part {
  /** Name of its file, in `build/` and in the cache. */
  readonly file: string;
  /** Environment variable that names another file. */
  readonly variable: string;
  /** Whether boxes can do without it, and only what needs it fails. @default {false} */
  readonly optional?: boolean;
  /** Folders below `ffi/` with its sources. */
  readonly sources: readonly string[];
  /** Folders below `ffi/` whose headers the sources use as well; `""` is `ffi/` itself. */
  readonly headers: readonly string[];
  /** Flags for compiling and for linking. */
  readonly flags: readonly string[];
  /** Flags for linking alone, after the objects. */
  readonly libraries: readonly string[];
  /** Linked only if a source includes this header. */
  readonly librariesByHeader?: Readonly<Record<string, readonly string[]>>;
  /** Largest size of the file in bytes. */
  readonly maxBytes?: number;
}

/** All read what may be hostile: an overflow that was overlooked is to end the program. */
const HARDENED = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"];
const COMMON = ["-std=gnu11", "-O2", ...HARDENED];
/** Ours alone: another machine's compiler may warn of what ours doesn't know yet. */
const STRICT = ["-Wall", "-Wextra", "-Werror"];

/** Every part. */
export const PARTS: Readonly<Record<PartName, Part>> = {
  helper: {
    file: "libhutch.so",
    variable: "HUTCH_HELPER",
    sources: ["helper", "child", "copy", "confine"],
    headers: [""],
    flags: [...COMMON, "-fPIC", "-fvisibility=hidden", "-pthread"],
    libraries: ["-shared", "-Wl,-z,defs", "-lext2fs", "-lcom_err", "-larchive", "-lzstd", "-ldl"],
  },
  agent: {
    file: "hutch-agent",
    variable: "HUTCH_AGENT",
    sources: ["agent", "copy"],
    headers: [""],
    flags: [...COMMON, "-ffunction-sections", "-fdata-sections", "-pthread"],
    libraries: ["-static", "-Wl,--gc-sections", "-s"],
    librariesByHeader: { "cbor.h": ["-lcbor"] },
    maxBytes: 1.5 * 1024 * 1024,
  },
  box: {
    file: "libhutch-box.so",
    variable: "HUTCH_BOX_LIBRARY",
    sources: ["child", "clock", "confine", "life", "relay"],
    headers: [""],
    flags: [...COMMON, "-fPIC", "-fvisibility=hidden", "-pthread"],
    libraries: ["-shared", "-Wl,-z,defs", "-s"],
  },
  share: {
    file: "hutch-share",
    variable: "HUTCH_SHARE",
    optional: true,
    sources: ["share"],
    headers: [""],
    flags: COMMON,
    libraries: ["-s"],
  },
  net: {
    file: "hutch-net",
    variable: "HUTCH_NET",
    optional: true,
    sources: ["net"],
    headers: [],
    flags: COMMON,
    libraries: ["-s", "-lslirp"],
  },
};

/** The names of {@link PARTS}. */
export const PART_NAMES: readonly PartName[] = ["helper", "agent", "box", "share", "net"];

/**
 * How to build a part.
 *
 * @param ffi The folder with the sources.
 * @param options `strict`: warnings are errors. @default {false}
 */
export function targetOf(part: Part, ffi: string, options: {
  readonly output: string;
  readonly strict?: boolean;
}): Target {
  const { sources, headers, flags, libraries, librariesByHeader, maxBytes } = part;
  return {
    output: options.output,
    sources: sources.map((folder) => join(ffi, folder)),
    headers: headers.map((folder) => join(ffi, folder)),
    flags: options.strict === true ? [...flags, ...STRICT] : flags,
    libraries,
    ...librariesByHeader === undefined ? {} : { librariesByHeader },
    ...maxBytes === undefined ? {} : { maxBytes },
  };
}

/** Which of `files` (paths below `ffi/`) a part is made from. */
export function sourcesOf(part: Part, files: readonly string[]): string[] {
  const folderOf = (file: string) => file.slice(0, Math.max(0, file.lastIndexOf("/")));
  return files.filter((file) =>
    part.sources.includes(folderOf(file)) ||
    (part.headers.includes(folderOf(file)) && file.endsWith(".h"))
  );
}

/** The library or program for the guest's and the host's machine, such as `x86_64-unknown-linux-gnu`. */
export type TargetTriple = string;

/**
 * SHA-256 of the parts that a release has, by machine (`Deno.build.target`) and part. They lie in
 * `prebuilt/MACHINE/FILE` beside `mod.ts`. There has been no release yet: the table is empty, and
 * the sources are compiled.
 */
export const PREBUILT: Readonly<
  Record<TargetTriple, Partial<Readonly<Record<PartName, string>>>>
> = {};
