/**
 * The modules that a box process starts with, each as one file with all that it imports. To find and read
 * them one by one is a tenth of its start, and a quarter where files are slow to reach.
 *
 * `deno task build` makes such files in a checkout (`scripts/build_modules.ts`). Where there is none, or a
 * source isn't what it was, the module itself is loaded: nothing but time is lost.
 *
 * @module
 */
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isCompiled } from "../own_process.ts";
import { unreadable } from "../permissions.ts";

/** Where `mod.ts` is. */
const BASE = new URL("../../", import.meta.url);
/** What such a file begins with; JSON of {@link BuiltFrom} follows, and ends with the line. */
const HEAD = "// built from ";
/** Longest first line, in bytes. */
const LINE_LIMIT = 64 * 1024;

/** The modules that are built, below {@link BASE}. */
export const BUILT_MODULES: readonly string[] = [
  "src/vmm/box_process.ts",
  "plugins/engines/libkrun_runner.ts",
  "plugins/engines/qemu_runner.ts",
];

/** What a file was built from: path below the project, size in bytes, time of change in `ms`; first itself. */
export type BuiltFrom = readonly (readonly [path: string, size: number, mtimeMs: number])[];

/** By the URL of the module. */
const known = new Map<string, string>();

/** The URL of what was built from a module, or its own. */
export function builtModule(url: string): string {
  if (BASE.protocol !== "file:" || isCompiled() || !url.startsWith(BASE.href)) return url;
  const path = url.slice(BASE.href.length);
  if (!BUILT_MODULES.includes(path)) return url;
  let found = known.get(url);
  if (found === undefined) {
    const root = fileURLToPath(BASE);
    const built = new URL(builtPath(path), BASE);
    const mayLook = unreadable([root]).length === 0;
    found = mayLook && isBuiltFrom(fileURLToPath(built), path, root) ? built.href : url;
    known.set(url, found);
  }
  return found;
}

/** Where a module is built, below the project. */
export function builtPath(module: string): string {
  return `build/${basename(module, ".ts")}.js`;
}

/** Whether a file was built from a module and all that this imports as they are now. */
export function isBuiltFrom(file: string, module: string, root: string): boolean {
  try {
    const sources = sourcesOf(file);
    return sources[0]?.[0] === module && sources.every(([path, size, mtimeMs]) => {
      const now = statSync(join(root, path));
      return now.size === size && now.mtimeMs === mtimeMs;
    });
  } catch {
    return false; // not there, or not to be read; or a source is gone
  }
}

/** The first line of a built file. */
export function builtHead(sources: BuiltFrom): string {
  return `${HEAD}${JSON.stringify(sources)}\n`;
}

function sourcesOf(file: string): BuiltFrom {
  const buffer = new Uint8Array(LINE_LIMIT);
  const fd = openSync(file, "r");
  try {
    const text = new TextDecoder().decode(buffer.subarray(0, readSync(fd, buffer)));
    return text.startsWith(HEAD) ? JSON.parse(text.slice(HEAD.length, text.indexOf("\n"))) : [];
  } finally {
    closeSync(fd);
  }
}
