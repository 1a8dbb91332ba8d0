/**
 * Ways through a box's folders, in the shapes that `@std/fs` has.
 *
 * @module
 */
import { load } from "./handle.ts";
import { type BoxDirEntry, type BoxFileInfo, readEntries } from "./info.ts";
import { checkMost } from "./numbers.ts";
import type { WalkOptions } from "./options.ts";
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
  const entered = new Set<string>();
  yield* walkOn({
    ...{ walker, options, realPaths: true },
    isOut: (path) => matches(path, skip),
    isEntered: ({ folder }) => {
      const known = entered.has(folder);
      entered.add(folder);
      return known;
    },
  }, await rootEntry(walker, root));
}

/** One walk. */
export interface Walk {
  readonly walker: WalkPort;
  readonly options: WalkOptions;
  /** Whether a link that is followed gets the path that it leads to; else it keeps its own. */
  readonly realPaths: boolean;
  /** Whether a path is neither given nor entered. */
  readonly isOut: (path: string) => boolean;
  /** Whether the last folder of a way was entered before, where links are followed. */
  readonly isEntered: (way: Way) => boolean;
}

/** A folder, and those that lead to it. */
export interface Way {
  /** It, whatever its path. */
  readonly folder: string;
  readonly above: Way | undefined;
  /** How many are above it. */
  readonly depth: number;
}

/** An entry and all below it; `above` is the folder that it was found in. */
export async function* walkOn(
  walk: Walk,
  found: BoxWalkEntry,
  above?: Way,
): AsyncGenerator<BoxWalkEntry> {
  const { walker, options, isOut, isEntered } = walk;
  const { maxDepth = Infinity, followSymlinks = false, signal } = options;
  const entry = followSymlinks && found.isSymlink ? await followed(walk, found) : found;
  if (entry === undefined || isOut(entry.path)) return;
  if (isGiven(entry, options)) yield entry;
  const depth = above ? above.depth + 1 : 0;
  if (!entry.isDirectory || depth >= maxDepth) return;
  const folder = followSymlinks ? await identity(walker, entry) : "";
  const way = { folder, above, depth };
  if (followSymlinks && isEntered(way)) return;
  if (entry.pathBytes.length > MOST_PATH) throw broken("a folder is deeper than any can be");
  for await (const inner of listFolder(walker.port, entry.pathBytes, signal)) {
    yield* walkOn(walk, { ...inner, path: decodePath(inner.pathBytes) }, way);
  }
}

/** Where a walk begins: a link is what it leads to there, under its own path. */
export async function rootEntry(walker: WalkPort, root: BoxPath): Promise<BoxWalkEntry> {
  const bytes = pathBytes(root);
  const info = await walker.stat(root);
  const path = decodePath(bytes);
  const name = bytes.subarray(bytes.lastIndexOf(0x2f, bytes.length - 2) + 1);
  return {
    ...{ path, pathBytes: bytes, name: decodePath(name), nameBytes: name.slice() },
    ...{ isFile: info.isFile, isDirectory: info.isDirectory, isSymlink: info.isSymlink },
  };
}

/** What a link leads to; undefined for one that leads nowhere. */
async function followed(
  { walker: { stat, realPath }, realPaths }: Walk,
  entry: BoxWalkEntry,
): Promise<BoxWalkEntry | undefined> {
  try {
    const real = realPaths ? await realPath(entry.pathBytes) : entry.pathBytes;
    const { isFile, isDirectory } = await stat(entry.pathBytes);
    const path = decodePath(real);
    return { ...entry, path, pathBytes: real, isFile, isDirectory, isSymlink: false };
  } catch (error) {
    if (isMissing(error) || error instanceof Deno.errors.FilesystemLoop) return undefined;
    throw error;
  }
}

async function identity({ stat }: WalkPort, { pathBytes: path }: BoxWalkEntry): Promise<string> {
  const { dev, ino } = await stat(path);
  return `${dev}:${ino}`;
}

function isGiven(
  entry: BoxWalkEntry,
  { includeFiles = true, includeDirs = true, includeSymlinks = true, exts, match }: WalkOptions,
): boolean {
  const wanted = entry.isDirectory ? includeDirs : entry.isSymlink ? includeSymlinks : includeFiles;
  return wanted && (!exts || exts.some((ending) => entry.path.endsWith(ending))) &&
    (!match || matches(entry.path, match));
}

/** Each path is judged on its own: `test` of an expression with the flag g or y goes on from a match. */
function matches(path: string, expressions: readonly RegExp[]): boolean {
  return expressions.some((each) => path.search(each) >= 0);
}

/** Whether an error says that there is no such path. */
export function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}
