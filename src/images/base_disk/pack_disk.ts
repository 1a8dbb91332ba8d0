/**
 * From a disk's content to the blob that images keep it as.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { HutchError } from "../../errors.ts";
import { CLUSTER, DiskMap, isZero, packedHead, packedLength } from "./packed_disk.ts";
import { cancelled } from "../wait.ts";

/** A disk that can be read, in whatever form it is kept. */
export interface DiskContent {
  /** How errors call it, such as `disk /tmp/disk.img`. */
  readonly name: string;
  /** Its size as a machine sees it, in bytes; a multiple of 512, at most 16 TiB. */
  readonly sizeBytes: number;
  /** Fills all of `into` with the bytes from `offset` on; never asked for bytes behind the end. */
  read(offset: number, into: Uint8Array<ArrayBuffer>): Promise<void>;
  /**
   * The first place from `offset` on that may hold something else than zeros, or the disk's size.
   * @default {`offset`}
   */
  nextData?(offset: number): Promise<number>;
  /** Throws when the disk isn't any more what it was when it was opened. */
  check?(): Promise<void>;
}

/** A disk as a blob; its media type is {@link DISK_TYPE}. */
export interface PackedDisk {
  /** Of the blob: the same for all disks with this content. */
  readonly digest: string;
  /** Of the blob, in bytes: holes take nothing. */
  readonly size: number;
  /** Its bytes, read from the disk again. The stream breaks when the disk has changed. */
  stream(signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Options of {@link packDisk}. */
export interface PackDiskOptions {
  /** Ends the work. */
  readonly signal?: AbortSignal;
  /** Content that isn't zeros, at most, in bytes. @default {1 TiB} */
  readonly maxBytes?: number;
}

/** Read at once. */
const PIECE = 16 * CLUSTER;
/** What a layer may have at most, less its tables. */
const MAX_BYTES = 2 ** 40 - 2 ** 30;

/**
 * Reads a disk twice (what is in it, then its digest), so that its bytes can be given out without
 * a copy.
 *
 * @example A disk in memory
 * ```ts
 * import { packDisk } from "@hutch/hutch";
 * const disk = new Uint8Array(1024 * 1024);
 * disk[1080] = 0x53;
 * const packed = await packDisk({
 *   name: "disk of one byte",
 *   sizeBytes: disk.length,
 *   read: async (offset, into) => into.set(disk.subarray(offset, offset + into.length)),
 * });
 * console.log(packed.digest, packed.size);
 * ```
 *
 * @throws {HutchError} `limit_exceeded`, `invalid_image`, `cancelled`, or what the content throws.
 */
export async function packDisk(
  content: DiskContent,
  options: PackDiskOptions = {},
): Promise<PackedDisk> {
  const { signal = new AbortController().signal, maxBytes = MAX_BYTES } = options;
  const map = await scan(content, signal, Math.min(maxBytes, MAX_BYTES));
  const hash = createHash("sha256");
  for await (const piece of bytesOf(content, map, signal)) hash.update(piece);
  const digest = `sha256:${hash.digest("hex")}`;
  return {
    digest,
    size: packedLength(map),
    stream: (signal) => ReadableStream.from(bytesOf(content, map, signal)),
  };
}

async function scan(content: DiskContent, signal: AbortSignal, limit: number): Promise<DiskMap> {
  const map = new DiskMap(content.sizeBytes);
  const buffer = new Uint8Array(PIECE);
  for (let at = 0; at < content.sizeBytes;) {
    if (signal.aborted) throw cancelled(`read ${content.name}`, signal);
    const next = await content.nextData?.(at) ?? at;
    if (next >= content.sizeBytes) break;
    at = next - next % CLUSTER;
    const piece = buffer.subarray(0, Math.min(PIECE, content.sizeBytes - at));
    await content.read(at, piece);
    for (let from = 0; from < piece.length; from += CLUSTER) {
      if (!isZero(piece.subarray(from, from + CLUSTER))) map.add((at + from) / CLUSTER);
    }
    if (map.count * CLUSTER > limit) {
      throw new HutchError(
        "limit_exceeded",
        `Cannot read ${content.name}: it holds more than ${limit} bytes`,
      );
    }
    at += piece.length;
  }
  await content.check?.();
  return map;
}

/** The last piece comes only when the disk is known to be the same still. */
async function* bytesOf(
  content: DiskContent,
  map: DiskMap,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let held: Uint8Array<ArrayBuffer> | undefined;
  for await (const piece of piecesOf(content, map, signal)) {
    if (held) yield held;
    held = piece;
  }
  await content.check?.();
  if (held) yield held;
}

async function* piecesOf(
  content: DiskContent,
  map: DiskMap,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield* packedHead(map);
  for (let cluster = map.next(0); cluster < map.clusters;) {
    if (signal.aborted) throw cancelled(`read ${content.name}`, signal);
    let end = cluster + 1;
    while (end - cluster < PIECE / CLUSTER && map.has(end)) end++;
    const piece = new Uint8Array((end - cluster) * CLUSTER);
    const from = cluster * CLUSTER;
    await content.read(from, piece.subarray(0, Math.min(piece.length, content.sizeBytes - from)));
    yield piece;
    cluster = map.next(end);
  }
}
