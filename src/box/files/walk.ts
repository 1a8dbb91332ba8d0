/**
 * Ways through a box's folders, in the shapes that `@std/fs` has.
 *
 * @module
 */
import { matchesGlob } from "node:path";
import { load } from "./handle.ts";
import { type BoxDirEntry, type BoxFileInfo, readEntries } from "./info.ts";
import { checkMost } from "./numbers.ts";
import type { ExpandGlobOptions, WalkOptions } from "./options.ts";
import { type BoxPath, decodePath, pathBytes } from "./paths.ts";
import type { FilesPort } from "./port.ts";
import { broken } from "./wire.ts";

/** What `BoxFiles.walk` and `expandGlob` give. */
export interface BoxWalkEntry extends BoxDirEntry {
  /** Root, as it was given, and what leads on from it; bytes that aren't UTF-8 show as U+FFFD. */
  readonly path: string;
}

/** What walking needs beside listing. */
export interface WalkPort {
  readonly port: FilesPort;
  readonly stat: (path: BoxPath) => Promise<BoxFileInfo>;
  readonly lstat: (path: BoxPath) => Promise<BoxFileInfo>;
  readonly realPath: (path: BoxPath) => Promise<Uint8Array<ArrayBuffer>>;
}

const MOST_PATH = 8192;

/** A folder's entries, as many at once as come in one reply. */
export async function* listFolder(
  port: FilesPort,
  path: BoxPath,
  signal?: AbortSignal,
): AsyncGenerator<BoxDirEntry> {
  const folder = pathBytes(path);
  const first = await load(port, { path, verb: "read folder", head: { op: "list" }, signal });
  using handle = first.handle;
  yield* readEntries(first.data, folder);
  for (let more = handle !== undefined; more && handle;) {
    const reply = await handle.ask("list", {}, { signal });
    yield* readEntries(reply.data, folder);
    more = reply.boolean("more");
    if (more && reply.data.length === 0) throw broken("it gives nothing of a folder that has more");
  }
}

/** See `BoxFiles.walk`. Of each folder on the way down one reply is held, whatever the guest claims. */
export async function* walkFrom(
  walker: WalkPort,
  root: BoxPath,
  options: WalkOptions,
): AsyncGenerator<BoxWalkEntry> {
  const { skip = [], maxDepth = Infinity } = options;
  checkMost("maxDepth", maxDepth);
  const walk: Walk = {
    ...{ walker, options, entered: new Set<string>() },
    isOut: (path) => skip.some((each) => each.test(path)),
  };
  yield* walkOn(walk, await rootEntry(walker, root), 0);
}

/** One walk. */
interface Walk {
  readonly walker: WalkPort;
  readonly options: WalkOptions;
  /** Whether a path is neither given nor entered. */
  readonly isOut: (path: string) => boolean;
  /** Folders, where links are followed. */
  readonly entered: Set<string>;
}

async function* walkOn(
  walk: Walk,
  found: BoxWalkEntry,
  depth: number,
): AsyncGenerator<BoxWalkEntry> {
  const { walker, options, isOut, entered } = walk;
  const { maxDepth = Infinity, followSymlinks = false, signal } = options;
  const entry = followSymlinks && found.isSymlink ? await followed(walker, found) : found;
  if (entry === undefined || isOut(entry.path)) return;
  if (isGiven(entry, options)) yield entry;
  if (!entry.isDirectory || depth >= maxDepth) return;
  if (followSymlinks && !await isNew(walker, entry, entered)) return;
  if (entry.pathBytes.length > MOST_PATH) throw broken("a folder is deeper than any can be");
  for await (const inner of listFolder(walker.port, entry.pathBytes, signal)) {
    yield* walkOn(walk, { ...inner, path: decodePath(inner.pathBytes) }, depth + 1);
  }
}

async function rootEntry(walker: WalkPort, root: BoxPath): Promise<BoxWalkEntry> {
  const bytes = pathBytes(root);
  const info = await walker.lstat(root);
  const path = decodePath(bytes);
  const name = bytes.subarray(bytes.lastIndexOf(0x2f, bytes.length - 2) + 1);
  return {
    ...{ path, pathBytes: bytes, name: decodePath(name), nameBytes: name.slice() },
    ...{ isFile: info.isFile, isDirectory: info.isDirectory, isSymlink: info.isSymlink },
  };
}

/** What a link leads to; undefined for one that leads nowhere. */
async function followed(
  { stat, realPath }: WalkPort,
  entry: BoxWalkEntry,
): Promise<BoxWalkEntry | undefined> {
  try {
    const real = await realPath(entry.pathBytes);
    const { isFile, isDirectory } = await stat(entry.pathBytes);
    const path = decodePath(real);
    return { ...entry, path, pathBytes: real, isFile, isDirectory, isSymlink: false };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function isNew(
  { stat }: WalkPort,
  { pathBytes: path }: BoxWalkEntry,
  entered: Set<string>,
): Promise<boolean> {
  const { dev, ino } = await stat(path);
  const key = `${dev}:${ino}`;
  if (entered.has(key)) return false;
  entered.add(key);
  return true;
}

function isGiven(
  entry: BoxWalkEntry,
  { includeFiles = true, includeDirs = true, includeSymlinks = true, exts, match }: WalkOptions,
): boolean {
  const wanted = entry.isDirectory ? includeDirs : entry.isSymlink ? includeSymlinks : includeFiles;
  return wanted && (!exts || exts.some((ending) => entry.path.endsWith(ending))) &&
    (!match || match.some((each) => each.test(entry.path)));
}

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
  const walk: Walk = {
    walker,
    options: {
      includeDirs,
      followSymlinks: options.followSymlinks ?? false,
      maxDepth: parts.includes("**") ? Infinity : parts.length - fixed.length,
      ...(signal ? { signal } : {}),
    },
    entered: new Set<string>(),
    isOut: (path) => excluded.some((each) => matchesGlob(path, each)),
  };
  try {
    const top = await rootEntry(walker, `/${fixed.join("/")}`);
    for await (const entry of walkOn(walk, top, 0)) {
      if (matchesGlob(entry.path, whole)) yield entry;
    }
  } catch (error) {
    if (!isMissing(error)) throw error; // nothing matches
  }
}

/** Whether an error says that there is no such path. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
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
