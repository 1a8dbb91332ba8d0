/**
 * Disks as blobs: a disk's content in a qcow2 file that has one form only, so that the same content
 * has the same digest, and holes cost nothing. The blob is the base disk itself: boxes' overlays lie
 * over it, and it is never written again.
 *
 * The form: version 3, clusters of 64 KiB, nothing below, no snapshots, no features. In this order:
 * header, refcount table, L1 table, refcount blocks, one L2 table for each 512 MiB that hold
 * anything, and the clusters that aren't all zeros. What a guest wrote, or an image's maker, can't
 * be mistaken for any of it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { HutchError } from "../../errors.ts";

/** Size of the pieces in which disks are kept, in bytes. */
export const CLUSTER = 64 * 1024;
/** Largest disk, in bytes. */
export const DISK_LIMIT = 16 * 2 ** 40;
const ENTRIES = CLUSTER / 8;
const COUNTS = CLUSTER / 2;
const COPIED = 1n << 63n;
const OFFSET_MASK = 0x00fffffffffffe00n;
const HEADER_LENGTH = 104;
const ZEROS = Buffer.alloc(CLUSTER);

/** Which clusters of a disk hold something else than zeros. */
export class DiskMap {
  /** The disk's size in bytes, a multiple of 512. */
  readonly sizeBytes: number;
  readonly #bits: Uint8Array<ArrayBuffer>;
  #count = 0;

  /**
   * An empty map.
   *
   * @throws {HutchError} `invalid_image` for a size that no disk has.
   */
  constructor(sizeBytes: number) {
    const sound = Number.isSafeInteger(sizeBytes) && sizeBytes > 0 && sizeBytes % 512 === 0;
    if (!sound || sizeBytes > DISK_LIMIT) {
      throw invalid(
        sound ? `it has ${sizeBytes} bytes, more than 16 TiB` : `it can't have ${sizeBytes} bytes`,
      );
    }
    this.sizeBytes = sizeBytes;
    this.#bits = new Uint8Array(Math.ceil(this.clusters / 8));
  }

  /** Clusters of the disk; the last may reach over its end. */
  get clusters(): number {
    return Math.ceil(this.sizeBytes / CLUSTER);
  }

  /** How many hold something. */
  get count(): number {
    return this.#count;
  }

  /** Whether this one does. */
  has(cluster: number): boolean {
    return ((this.#bits[cluster >> 3] ?? 0) & (1 << (cluster & 7))) !== 0;
  }

  /** The first that does, from this one on; as many as there are clusters when none does. */
  next(cluster: number): number {
    let at = cluster;
    while (at < this.clusters && !this.has(at)) {
      at = (at & 7) === 0 && this.#bits[at >> 3] === 0 ? at + 8 : at + 1;
    }
    return Math.min(at, this.clusters);
  }

  /** Notes that this one does. */
  add(cluster: number): void {
    if (this.has(cluster)) return;
    this.#bits[cluster >> 3] = (this.#bits[cluster >> 3] ?? 0) | (1 << (cluster & 7));
    this.#count++;
  }

  /** Whether any of the clusters that an L2 table maps does. */
  hasTable(table: number): boolean {
    const from = table * ENTRIES / 8;
    return this.#bits.subarray(from, from + ENTRIES / 8).some((bits) => bits !== 0);
  }
}

/** Whether bytes (at most a cluster) are all zeros. */
export function isZero(bytes: Uint8Array): boolean {
  return ZEROS.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

/** Where everything is, in clusters. */
interface Layout {
  readonly tables: number;
  readonly usedTables: number;
  readonly l1At: number;
  readonly blocksAt: number;
  readonly blocks: number;
  readonly l2At: number;
  readonly dataAt: number;
  readonly end: number;
}

function layOut(map: DiskMap): Layout {
  const tables = Math.ceil(map.clusters / ENTRIES);
  let usedTables = 0;
  for (let table = 0; table < tables; table++) if (map.hasTable(table)) usedTables++;
  for (let blocks = 1;;) {
    const l1At = 1 + Math.ceil(blocks / ENTRIES);
    const blocksAt = l1At + Math.ceil(tables / ENTRIES);
    const l2At = blocksAt + blocks;
    const dataAt = l2At + usedTables;
    const end = dataAt + map.count;
    const wanted = Math.ceil(end / COUNTS);
    if (wanted <= blocks) return { tables, usedTables, l1At, blocksAt, blocks, l2At, dataAt, end };
    blocks = wanted;
  }
}

/** Length of the whole file, in bytes. */
export function packedLength(map: DiskMap): number {
  return layOut(map).end * CLUSTER;
}

/** All that comes before the disk's content, cluster by cluster. */
export function* packedHead(map: DiskMap): Generator<Uint8Array<ArrayBuffer>> {
  const { tables, l1At, blocksAt, blocks, l2At, dataAt, end } = layOut(map);
  yield header(map.sizeBytes, tables, l1At);
  yield* entries(blocks, (block) => BigInt((blocksAt + block) * CLUSTER));
  let nextTable = l2At;
  yield* entries(
    tables,
    (table) => map.hasTable(table) ? BigInt(nextTable++ * CLUSTER) | COPIED : 0n,
  );
  for (let block = 0; block < blocks; block++) {
    const counts = new DataView(new ArrayBuffer(CLUSTER));
    const left = Math.min(COUNTS, end - block * COUNTS);
    for (let at = 0; at < left; at++) counts.setUint16(at * 2, 1);
    yield new Uint8Array(counts.buffer);
  }
  let nextData = dataAt;
  for (let table = 0; table < tables; table++) {
    if (!map.hasTable(table)) continue;
    const first = table * ENTRIES;
    yield* entries(
      ENTRIES,
      (at) => map.has(first + at) ? BigInt(nextData++ * CLUSTER) | COPIED : 0n,
    );
  }
}

function header(sizeBytes: number, tables: number, l1At: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(CLUSTER));
  view.setUint32(0, 0x514649fb); // "QFI\xfb"
  view.setUint32(4, 3); // version
  view.setUint32(20, Math.log2(CLUSTER));
  view.setBigUint64(24, BigInt(sizeBytes));
  view.setUint32(36, tables); // entries of the L1 table
  view.setBigUint64(40, BigInt(l1At * CLUSTER));
  view.setBigUint64(48, BigInt(CLUSTER)); // refcount table
  view.setUint32(56, l1At - 1); // its clusters
  view.setUint32(96, 4); // refcounts of 2^4 bits
  view.setUint32(100, HEADER_LENGTH);
  return new Uint8Array(view.buffer);
}

/** A table of 8-byte entries, in whole clusters. */
function* entries(
  count: number,
  entry: (index: number) => bigint,
): Generator<Uint8Array<ArrayBuffer>> {
  for (let from = 0; from < count; from += ENTRIES) {
    const view = new DataView(new ArrayBuffer(CLUSTER));
    const left = Math.min(ENTRIES, count - from);
    for (let at = 0; at < left; at++) view.setBigUint64(at * 8, entry(from + at));
    yield new Uint8Array(view.buffer);
  }
}

/**
 * Checks that a file has the one form, and gives its disk's size in bytes. Only then may an engine
 * open it: nothing in it leads to another file or out of its end.
 *
 * @throws {HutchError} `invalid_image`
 */
export async function checkPackedDisk(path: string): Promise<number> {
  using file = await Deno.open(path);
  const { size: length } = await file.stat();
  const map = await readMap(file, length);
  if (packedLength(map) !== length) throw invalid("its length isn't that of its clusters");
  await file.seek(0, Deno.SeekMode.Start);
  for (const expected of packedHead(map)) {
    const found = await readCluster(file);
    if (Buffer.compare(found, expected) !== 0) throw invalid("its tables aren't in hutch's form");
  }
  return map.sizeBytes;
}

/** What its tables say, in whatever form; each is read once, from inside of the file. */
async function readMap(file: Deno.FsFile, length: number): Promise<DiskMap> {
  const head = await readCluster(file);
  const view = new DataView(head.buffer);
  if (view.getUint32(0) !== 0x514649fb) throw invalid("it isn't a qcow2 file");
  const size = view.getBigUint64(24);
  const map = new DiskMap(size > BigInt(DISK_LIMIT) ? DISK_LIMIT + 512 : Number(size));
  const tables = Math.ceil(map.clusters / ENTRIES);
  const l1At = Number(view.getBigUint64(40));
  for (let from = 0; from < tables; from += ENTRIES) {
    const l1 = await clusterAt(file, l1At + from * 8, length);
    for (let at = 0; at < Math.min(ENTRIES, tables - from); at++) {
      const l2At = Number(l1.getBigUint64(at * 8) & OFFSET_MASK);
      if (l2At === 0) continue;
      const l2 = await clusterAt(file, l2At, length);
      const first = (from + at) * ENTRIES;
      for (let entry = 0; entry < ENTRIES && first + entry < map.clusters; entry++) {
        if (l2.getBigUint64(entry * 8) !== 0n) map.add(first + entry);
      }
      if (map.count * CLUSTER > length) throw invalid("its tables name more than it holds");
    }
  }
  return map;
}

async function clusterAt(file: Deno.FsFile, offset: number, length: number): Promise<DataView> {
  if (!Number.isSafeInteger(offset) || offset > length - CLUSTER) {
    throw invalid("a table is behind its end");
  }
  await file.seek(offset, Deno.SeekMode.Start);
  return new DataView((await readCluster(file)).buffer);
}

async function readCluster(file: Deno.FsFile): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(CLUSTER);
  for (let at = 0; at < CLUSTER;) {
    const count = await file.read(bytes.subarray(at));
    if (count === null) throw invalid("it is cut short");
    at += count;
  }
  return bytes;
}

function invalid(problem: string): HutchError {
  return new HutchError("invalid_image", `Cannot use a disk: ${problem}`);
}
