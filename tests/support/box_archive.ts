/**
 * Boxes with disks that no machine has run, and archives that say what a test wants.
 *
 * @module
 */
import { join, relative } from "node:path";
import { createHash } from "node:crypto";
import type { Box, Runtime } from "../../mod.ts";
import { decompressed } from "../../src/box/archive/compress.ts";
import { OverlayWriter } from "../../src/disk/overlay_writer.ts";
import { digestHex } from "../../src/images/digest.ts";
import { tarEnd, tarHeader, tarPadding } from "../../src/images/manage/tar_header.ts";
import { zstdCompressSync } from "node:zlib";

/** Size of the clusters of disks, in bytes. */
export const CLUSTER = 65536;

/** What a cluster holds: bytes made of a number, zeros over what the image has, or these. */
export type Clusters = ReadonlyMap<number, number | "zeros" | Uint8Array<ArrayBuffer>>;

/** A box whose disk holds these clusters over its image's. */
export async function boxWith(
  runtime: Runtime,
  clusters: Clusters,
  { name = "box", disk = 64, engine = "auto" }: {
    readonly name?: string;
    readonly disk?: number;
    readonly engine?: string;
  } = {},
): Promise<Box> {
  const box = await runtime.create({ image: "builtin:busybox", name, disk, memory: 128, engine });
  const folder = join(runtime.home, "boxes", box.id);
  const base = join(runtime.home, "disks", `${digestHex(box.config.image.digest)}.ext4`);
  using overlay = await OverlayWriter.create({
    path: join(folder, "disk.qcow2"),
    backingPath: relative(folder, base),
    backingFormat: "raw",
    sizeBytes: disk * 2 ** 20,
  });
  for (const [cluster, content] of [...clusters].sort(([a], [b]) => a - b)) {
    if (content === "zeros") await overlay.zeros(cluster * CLUSTER, CLUSTER);
    else {
      const bytes = typeof content === "number" ? pattern(content) : content;
      await overlay.data(cluster * CLUSTER, bytes);
    }
  }
  await overlay.finish();
  return box;
}

/** A cluster that doesn't compress to nothing. */
export function pattern(seed: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(CLUSTER / 4);
  let state = seed;
  for (let at = 0; at < words.length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[at] = state;
  }
  return new Uint8Array(words.buffer);
}

/** A file of an archive. */
export interface ArchivePart {
  readonly name: string;
  readonly content: Uint8Array<ArrayBuffer>;
}

/** The files of an archive, but for the last. */
export async function partsOf(archive: Uint8Array<ArrayBuffer>): Promise<ArchivePart[]> {
  const plain = await plainOf(archive);
  const parts: ArchivePart[] = [];
  for (let at = 0; plain[at] !== 0;) {
    const field = (from: number, to: number) =>
      new TextDecoder().decode(plain.subarray(at + from, at + to)).replace(/\0.*$/s, "");
    const size = parseInt(field(124, 136), 8);
    const content = plain.slice(at + 512, at + 512 + size);
    parts.push({ name: field(0, 100), content });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return parts.slice(0, -1);
}

/** The tar in an archive. */
export async function plainOf(
  archive: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const frames = decompressed(new Blob([archive]).stream());
  return joined(await Array.fromAsync(frames, (frame) => frame.slice()));
}

/** An archive of these files, with an end that fits them. */
export function archiveOf(
  parts: readonly ArchivePart[],
  { end = {}, tail = tarEnd() }: {
    /** Instead of what would be right. */
    readonly end?: Readonly<Record<string, unknown>>;
    readonly tail?: Uint8Array<ArrayBuffer>;
  } = {},
): Uint8Array<ArrayBuffer> {
  const before = joined(parts.flatMap(file));
  const sha256 = createHash("sha256").update(before).digest("hex");
  const pieces = parts.filter(({ name }) => name.startsWith("disk/")).length;
  const last = document("end.json", { sha256, pieces, ...end });
  return packed(joined([before, ...file(last), tail]));
}

/** Compressed as archives are. */
export function packed(plain: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const frames: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < plain.length; at += 2 ** 22) {
    frames.push(new Uint8Array(zstdCompressSync(plain.subarray(at, at + 2 ** 22))));
  }
  return joined(frames);
}

/** A file with JSON. */
export function document(name: string, value: unknown): ArchivePart {
  return { name, content: new TextEncoder().encode(JSON.stringify(value)) };
}

/** A piece of a disk: runs as [start, length, kind], and their data. */
export function piece(
  number: number,
  runs: readonly (readonly [number, number, number])[],
  data: Uint8Array<ArrayBuffer> = new Uint8Array(),
  count = runs.length,
): ArchivePart {
  const head = new BigUint64Array([count, ...runs.flat()].map(BigInt));
  return {
    name: `disk/${String(number).padStart(8, "0")}`,
    content: joined([new Uint8Array(head.buffer), data]),
  };
}

/** All of them in a row. */
export function joined(parts: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function file({ name, content }: ArchivePart): Uint8Array<ArrayBuffer>[] {
  return [tarHeader(name, content.length), content, tarPadding(content.length)];
}
