/**
 * Makes images from generated layers and says in one line per name what came out.
 *
 * @module
 */
import { join } from "node:path";
import "./native.ts";
import { Ext4Image, type ImageLimits } from "../../ffi/helper.ts";
import { checkExt4, type Ext4Entry, readExt4 } from "./ext4.ts";
import { TempFolder } from "./temp.ts";

/** What {@link makeImage} can do otherwise. */
export interface ImageOptions {
  readonly limits?: ImageLimits;
  /** Bytes per piece given to the image. @default {the whole layer} */
  readonly pieceSize?: number;
}

/** Writes an image of plain layers into `path`. */
export async function writeImage(
  path: string,
  layers: readonly Uint8Array<ArrayBuffer>[],
  { limits = {}, pieceSize = Infinity }: ImageOptions = {},
): Promise<void> {
  using image = Ext4Image.create(path, "test", limits);
  for (const layer of layers) await image.applyLayer(pieces(layer, pieceSize));
  await image.finish();
}

/** The names of an image of plain layers, checked by e2fsck. */
export async function makeImage(
  layers: readonly Uint8Array<ArrayBuffer>[],
  options: ImageOptions = {},
): Promise<Map<string, Ext4Entry>> {
  await using folder = new TempFolder();
  const path = join(folder.path, "image");
  await writeImage(path, layers, options);
  await checkExt4(path);
  return await readExt4(path);
}

/** Each name but the root, with what it is. */
export function summaries(entries: ReadonlyMap<string, Ext4Entry>): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [path, entry] of entries) if (path !== "") result[path] = summary(entry);
  return result;
}

/** One line: `f 644 0:0 "content"`, then what is unusual. */
export function summary(entry: Ext4Entry): string {
  const parts = [entry.type === "directory" ? "d" : entry.type.slice(0, 1)];
  if (entry.type === "FIFO") parts[0] = "p";
  if (entry.type === "symlink") parts[0] = "l";
  parts.push(entry.mode.toString(8), `${entry.uid}:${entry.gid}`);
  if (entry.type === "regular") parts[0] = "f";
  if (entry.type === "regular") parts.push(JSON.stringify(entry.content ?? entry.size));
  if (entry.target !== undefined) parts.push(`-> ${entry.target}`);
  if (entry.device !== undefined) parts.push(entry.device);
  if (entry.type !== "directory" && entry.links > 1) parts.push(`x${entry.links}`);
  if (entry.seconds !== 0 || entry.nanos !== 0) parts.push(`@${entry.seconds}+${entry.nanos}`);
  for (const [name, value] of Object.entries(entry.attributes).sort()) {
    parts.push(`${name}=${JSON.stringify(value)}`);
  }
  return parts.join(" ");
}

async function* pieces(
  bytes: Uint8Array<ArrayBuffer>,
  size: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < bytes.length; at += size) {
    yield await Promise.resolve(bytes.subarray(at, Math.min(at + size, bytes.length)));
  }
}
