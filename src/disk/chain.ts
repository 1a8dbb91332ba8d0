/**
 * Which files make a box's disk together.
 *
 * @module
 */
import { dirname, relative, resolve } from "node:path";
import { HutchError } from "../errors.ts";

/** One file of a disk. */
export interface ChainFile {
  /** Its real path. */
  readonly path: string;
  /** What the one above it says of its format. */
  readonly format: "raw" | "qcow2";
}

const MAGIC = 0x514649fb;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const HEAD = 4096;
const PATH_LIMIT = 1023;
/** Most files of a disk. */
const FILES_LIMIT = 200;

/**
 * The files of a disk, the uppermost first, as each says what is below it. A machine could have
 * written its own: only files below `within` are followed to.
 *
 * @throws HutchError `state_corrupt`
 */
export async function diskFiles(
  path: string,
  within: readonly string[],
): Promise<readonly [ChainFile, ...ChainFile[]]> {
  const allowed = await Promise.all(within.map((folder) => Deno.realPath(folder).catch(() => "")));
  const top: ChainFile = { path: await Deno.realPath(path), format: "qcow2" };
  const files: [ChainFile, ...ChainFile[]] = [top];
  for (let file = top; file.format === "qcow2";) {
    const below = await backingOf(file.path);
    if (below === undefined) return files;
    if (files.length === FILES_LIMIT) throw odd(path, `it has more than ${FILES_LIMIT} layers`);
    const real = await Deno.realPath(resolve(dirname(file.path), below.path)).catch(() =>
      undefined
    );
    if (real === undefined) throw odd(file.path, `the disk below it, ${below.path}, isn't there`);
    if (!allowed.some((folder) => folder !== "" && isBelow(folder, real))) {
      throw odd(file.path, `it lies over ${real}, which is no disk of this home`);
    }
    file = { path: real, format: below.format };
    files.push(file);
  }
  return files;
}

function isBelow(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== "" && !way.startsWith("..") && !way.startsWith("/");
}

/** What a qcow2 file says of the disk below it. */
async function backingOf(
  path: string,
): Promise<{ readonly path: string; readonly format: "raw" | "qcow2" } | undefined> {
  const head = new Uint8Array(HEAD);
  {
    using file = await Deno.open(path);
    for (let at = 0; at < head.length;) at += await file.read(head.subarray(at)) ?? head.length;
  }
  const view = new DataView(head.buffer);
  if (view.getUint32(0) !== MAGIC) throw odd(path, "it isn't a qcow2 disk");
  const [at, length] = [Number(view.getBigUint64(8)), view.getUint32(16)];
  if (at === 0) return undefined;
  if (length === 0 || length > PATH_LIMIT || at + length > HEAD) {
    throw odd(path, "the path of the disk below it can't be right");
  }
  const format = backingFormat(view);
  if (format !== "raw" && format !== "qcow2") {
    throw odd(path, "it doesn't say what format the disk below it has");
  }
  return { path: new TextDecoder().decode(head.subarray(at, at + length)), format };
}

function backingFormat(view: DataView<ArrayBuffer>): string | undefined {
  const version = view.getUint32(4);
  for (let at = version >= 3 ? view.getUint32(100) : 72; at + 8 <= HEAD;) {
    const [type, length] = [view.getUint32(at), view.getUint32(at + 4)];
    if (type === 0 || length > HEAD) return undefined;
    if (type === EXTENSION_BACKING_FORMAT && at + 8 + length <= HEAD) {
      return new TextDecoder().decode(new Uint8Array(view.buffer, at + 8, length));
    }
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}

function odd(path: string, problem: string): HutchError {
  return new HutchError("state_corrupt", `Cannot read disk ${path}: ${problem}`);
}
