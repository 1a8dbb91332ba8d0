/**
 * The modules that a box process starts with, in one file with all that they import. To find and read
 * them one by one is a tenth of its start, and a quarter where files are slow to reach.
 *
 * `deno task build` makes such files in a checkout (`scripts/build_modules.ts`). Where there is none, or a
 * source isn't what it was, the modules themselves are loaded: nothing but time is lost.
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

/** What a box process is made of, below {@link BASE}. */
const BOX_MAIN = "src/vmm/box_main.ts";
/** The same as a program. */
const BOX_PROCESS = "src/vmm/box_process.ts";
/** Runners that it is built with; where they are is their engine's business. */
const RUNNERS = ["plugins/engines/libkrun_runner.ts", "plugins/engines/qemu_runner.ts"] as const;

/** What is built into one file each, below {@link BASE}: for engines of plugins, and with each runner. */
export const BUILT: readonly (readonly string[])[] = [
  [BOX_MAIN],
  ...RUNNERS.map((runner) => [BOX_MAIN, runner]),
];

/** What a file was built from: path below the project, size in bytes, time of change in `ms`. */
export type BuiltFrom = readonly (readonly [path: string, size: number, mtimeMs: number])[];

/** By the URL of the runner. */
const known = new Map<string, BoxProcessModule>();

/** What a box process loads first. */
export interface BoxProcessModule {
  readonly url: string;
  /** Whether the engine's runner is part of it. */
  readonly hasRunner: boolean;
}

/**
 * The module of a box process for an engine, as it was built or as it is.
 *
 * @param runner URL of the engine's runner module.
 */
export function boxProcessModule(runner: string): BoxProcessModule {
  let found = known.get(runner);
  if (!found) {
    found = find(runner);
    known.set(runner, found);
  }
  return found;
}

function find(runner: string): BoxProcessModule {
  if (BASE.protocol === "file:" && !isCompiled()) {
    const root = fileURLToPath(BASE);
    const path = runner.startsWith(BASE.href) ? runner.slice(BASE.href.length) : "";
    const built = BUILT.find((modules) => modules[1] === path) ?? [BOX_MAIN];
    if (unreadable([root]).length === 0 && isBuiltFrom(join(root, builtPath(built)), built, root)) {
      return { url: new URL(builtPath(built), BASE).href, hasRunner: built.length > 1 };
    }
  }
  return { url: new URL(BOX_PROCESS, BASE).href, hasRunner: false };
}

/** Where modules are built into one file, below the project. */
export function builtPath([, runner]: readonly string[]): string {
  return runner === undefined
    ? "build/box_process.js"
    : `build/${basename(runner, ".ts")}/box_process.js`;
}

/** Whether a file was built from these modules and all that they import as they are now. */
export function isBuiltFrom(file: string, modules: readonly string[], root: string): boolean {
  try {
    const sources = sourcesOf(file);
    const paths = sources.map(([path]) => path);
    return modules.every((module) => paths.includes(module)) &&
      sources.every(([path, size, mtimeMs]) => {
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
