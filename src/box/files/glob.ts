/**
 * Paths of a box that match a glob, as `@std/fs` finds them.
 *
 * @module
 */
import { matchesGlob } from "node:path";
import type { ExpandGlobOptions } from "./options.ts";
import {
  type BoxWalkEntry,
  isMissing,
  rootEntry,
  type Walk,
  walkOn,
  type WalkPort,
  type Way,
} from "./walk.ts";

/** See `BoxFiles.expandGlob`. */
export async function* expandFrom(
  walker: WalkPort,
  glob: string,
  options: ExpandGlobOptions,
): AsyncGenerator<BoxWalkEntry> {
  const { root = walker.port.cwd, exclude = [], includeDirs = true, signal } = options;
  const whole = absoluteGlob(glob, root, walker.port.cwd);
  const excluded = exclude.map((each) => absoluteGlob(each, root, walker.port.cwd));
  const parts = whole.split("/").slice(1);
  const first = parts.findIndex((part) => /[*?[\]{}()!+@\\]/.test(part));
  const fixed = first < 0 ? parts : parts.slice(0, first);
  const endless = parts.includes("**");
  const walk: Walk = {
    ...{ walker, realPaths: false },
    options: {
      includeDirs,
      followSymlinks: options.followSymlinks ?? false,
      maxDepth: endless ? Infinity : parts.length - fixed.length,
      ...(signal ? { signal } : {}),
    },
    isOut: (path) => excluded.some((each) => matchesGlob(path, each)),
    isEntered: (way) => endless && isBelowItself(way),
  };
  try {
    const top = await rootEntry(walker, `/${fixed.join("/")}`);
    for await (const entry of walkOn(walk, top)) {
      if (matchesGlob(entry.path, whole)) yield entry;
    }
  } catch (error) {
    if (!isMissing(error)) throw error; // nothing matches
  }
}

/** Whether the way leads round to a folder that it came through. */
function isBelowItself({ folder, above }: Way): boolean {
  for (let each = above; each; each = each.above) {
    if (each.folder === folder) return true;
  }
  return false;
}

function absoluteGlob(glob: string, root: string, cwd: string): string {
  return normal(
    glob.startsWith("/") ? glob : `${root.startsWith("/") ? "" : `${cwd}/`}${root}/${glob}`,
  );
}

/** Without `.`, `..` and empty parts. */
function normal(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}
