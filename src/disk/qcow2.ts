/**
 * Writes empty qcow2 overlays: the copy-on-write disk of a box over its base disk.
 *
 * Format: QEMU's `docs/interop/qcow2.txt`, version 3. The file has five kinds of clusters, in this
 * order: header, refcount table, L1 table, refcount blocks, L2 tables. Only data clusters appear as
 * the guest writes.
 *
 * All tables are there from the start, as holes of the file, because libkrun doesn't survive making
 * them: it writes at once that a new table is in use, and only at the guest's next flush that its
 * cluster is taken. A box process killed in between left a disk whose next user gave the table's
 * cluster to something else. Data clusters it counts before it refers to them, as QEMU does.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { isZero } from "./overlay.ts";

/** Options of {@link createOverlay}. */
export interface OverlayOptions {
  /** Where the overlay is made; must not exist. */
  readonly path: string;
  /** Path of the disk below; relative ones count from the overlay's folder. At most 1023 bytes. */
  readonly backingPath: string;
  /** Format of the disk below; written down so that nothing ever probes it. */
  readonly backingFormat: "raw" | "qcow2";
  /** Size of the disk as the guest sees it, in bytes; a multiple of 512, at most 64 TiB. */
  readonly sizeBytes: number;
  /** What the overlay holds from the start. @default {nothing} */
  readonly clusters?: readonly OverlayCluster[];
}

/** A cluster that an overlay holds. */
export interface OverlayCluster {
  /** Where it begins on the disk, in bytes; a multiple of {@link CLUSTER}. */
  readonly at: number;
  /** {@link CLUSTER} bytes. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

const MAGIC = 0x514649fb; // "QFI\xfb"
const CLUSTER_BITS = 16;
/** Size of the pieces in which overlays grow, in bytes. */
export const CLUSTER: number = 1 << CLUSTER_BITS;
const HEADER_LENGTH = 104;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
/** Bytes that one L2 table maps: its 8-byte entries fill a cluster. */
const BYTES_PER_L2_TABLE = (CLUSTER / 8) * CLUSTER;
/** Clusters that one refcount block counts, with 2 bytes each. */
const COUNTS_PER_BLOCK = CLUSTER / 2;
/** A machine killed during a flush leaves clusters that are counted and unused: room for 2 GiB. */
const SPARE_BLOCKS = 1;
/** Bit of an L1 entry: its table has one user, and is written in place. */
const COPIED = 1n << 63n;
const MAX_SIZE = 64 * 2 ** 40;
/** Pieces of this size that are zero aren't written. */
const PIECE = 4096;

/**
 * Makes an overlay over a backing disk. The file is sparse: an empty one takes some 20 KiB, whatever the
 * image's size, and its length is about a 6,500th of the disk's.
 *
 * @throws HutchError `invalid_option` for a size or path that the format can't hold.
 */
export async function createOverlay(options: OverlayOptions): Promise<void> {
  const { sizeBytes, clusters = [] } = options;
  const { head, length } = overlayContent(options);
  await using file = await Deno.open(options.path, { write: true, createNew: true, mode: 0o600 })
    .then(disposable);
  writeSparse(file.handle, 0, head);
  await file.handle.truncate(length);
  const layout = overlayLayout(sizeBytes);
  for (const [index, { at, bytes }] of clusters.entries()) {
    if (at % CLUSTER !== 0 || at < 0 || at >= sizeBytes || bytes.length !== CLUSTER) {
      throw new TypeError("an overlay holds whole clusters of its disk");
    }
    const place = (layout.clusters + index) * CLUSTER;
    writeSparse(file.handle, place, bytes);
    const entry = new Uint8Array(8);
    new DataView(entry.buffer).setBigUint64(0, BigInt(place) | COPIED);
    writeSparse(file.handle, layout.l2At * CLUSTER + (at / CLUSTER) * 8, entry);
  }
}

/** Blocks: so many small writes take less time than as many trips to another thread. */
function writeSparse(file: Deno.FsFile, place: number, bytes: Uint8Array<ArrayBuffer>): void {
  for (let from = 0; from < bytes.length;) {
    let to = from;
    while (to < bytes.length && !isZero(bytes.subarray(to, to + PIECE))) to += PIECE;
    if (to > from) {
      file.seekSync(place + from, Deno.SeekMode.Start);
      const filled = bytes.subarray(from, to);
      for (let at = 0; at < filled.length;) at += file.writeSync(filled.subarray(at));
    }
    from = to + PIECE;
  }
}

/**
 * The size of a disk as the guest sees it, in bytes.
 *
 * @throws HutchError `state_corrupt` when a qcow2 disk of hutch's own isn't one any more.
 */
export async function diskSize(
  disk: { readonly path: string; readonly format: "raw" | "qcow2" },
): Promise<number> {
  using file = await Deno.open(disk.path);
  if (disk.format === "raw") return (await file.stat()).size;
  const head = new Uint8Array(32);
  for (let at = 0; at < head.length;) at += await file.read(head.subarray(at)) ?? head.length;
  const view = new DataView(head.buffer);
  const size = Number(view.getBigUint64(24));
  if (view.getUint32(0) === MAGIC && Number.isSafeInteger(size)) return size;
  throw new HutchError("state_corrupt", `Cannot read disk ${disk.path}: it isn't a qcow2 disk`);
}

function disposable(handle: Deno.FsFile) {
  return { handle, [Symbol.asyncDispose]: () => Promise.resolve(handle.close()) };
}

/** The overlay's first bytes, and its length; the rest reads zero but for what it holds. */
export function overlayContent(
  options: OverlayOptions,
): { head: Uint8Array<ArrayBuffer>; length: number } {
  const { sizeBytes } = options;
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) {
    throw new HutchError(
      "invalid_option",
      `Cannot make a disk of ${sizeBytes} bytes: it is not a positive multiple of 512`,
    );
  }
  if (sizeBytes > MAX_SIZE) {
    throw new HutchError(
      "invalid_option",
      `Cannot make a disk of ${sizeBytes} bytes: the limit is 64 TiB`,
    );
  }
  const backing = new TextEncoder().encode(options.backingPath);
  if (backing.length === 0 || backing.length > 1023) {
    throw new HutchError(
      "invalid_option",
      `Cannot make a disk over "${options.backingPath}": its path has ${backing.length} bytes and may have 1 to 1023`,
    );
  }
  const { l2Tables, l1At, blocksAt, blocks, l2At, clusters } = overlayLayout(sizeBytes);
  const used = clusters + (options.clusters?.length ?? 0);
  // Of the refcount blocks only the first count anything yet.
  const counting = Math.ceil(used / COUNTS_PER_BLOCK);
  const bytes = new Uint8Array((blocksAt + counting) * CLUSTER);
  const view = new DataView(bytes.buffer);

  const format = new TextEncoder().encode(options.backingFormat);
  const extensionLength = 8 + roundUp(format.length, 8);
  const backingOffset = HEADER_LENGTH + extensionLength + 8;

  view.setUint32(0, MAGIC);
  view.setUint32(4, 3); // version
  view.setBigUint64(8, BigInt(backingOffset));
  view.setUint32(16, backing.length);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(sizeBytes));
  view.setUint32(32, 0); // no encryption
  view.setUint32(36, l2Tables); // entries of the L1 table
  view.setBigUint64(40, BigInt(l1At * CLUSTER));
  view.setBigUint64(48, BigInt(CLUSTER)); // refcount table
  view.setUint32(56, l1At - 1); // its clusters
  view.setUint32(96, 4); // refcounts of 2^4 bits
  view.setUint32(100, HEADER_LENGTH);

  view.setUint32(HEADER_LENGTH, EXTENSION_BACKING_FORMAT);
  view.setUint32(HEADER_LENGTH + 4, format.length);
  bytes.set(format, HEADER_LENGTH + 8);
  bytes.set(backing, backingOffset); // after the end-of-extensions mark, eight zero bytes

  for (let block = 0; block < blocks; block++) {
    view.setBigUint64(CLUSTER + block * 8, BigInt((blocksAt + block) * CLUSTER));
  }
  for (let table = 0; table < l2Tables; table++) {
    view.setBigUint64(l1At * CLUSTER + table * 8, BigInt((l2At + table) * CLUSTER) | COPIED);
  }
  for (let cluster = 0; cluster < used; cluster++) {
    view.setUint16(blocksAt * CLUSTER + cluster * 2, 1);
  }
  return { head: bytes, length: used * CLUSTER };
}

/** Where everything of an overlay is, in clusters. */
export interface OverlayLayout {
  /** How many second-level tables. */
  readonly l2Tables: number;
  /** The first-level table. */
  readonly l1At: number;
  /** The first refcount block. */
  readonly blocksAt: number;
  /** How many. */
  readonly blocks: number;
  /** The first second-level table. */
  readonly l2At: number;
  /** How many clusters there are in all, without data. */
  readonly clusters: number;
}

/** Where everything is; the refcount table is the second cluster. */
export function overlayLayout(sizeBytes: number): OverlayLayout {
  const l2Tables = Math.ceil(sizeBytes / BYTES_PER_L2_TABLE);
  const l1Clusters = Math.ceil((l2Tables * 8) / CLUSTER);
  const dataClusters = Math.ceil(sizeBytes / CLUSTER);
  // Blocks count themselves and their table as well: enough when no more are asked for.
  for (let blocks = 1;;) {
    const tableClusters = Math.ceil((blocks * 8) / CLUSTER);
    const l1At = 1 + tableClusters;
    const blocksAt = l1At + l1Clusters;
    const l2At = blocksAt + blocks;
    const clusters = l2At + l2Tables;
    const wanted = Math.ceil((clusters + dataClusters) / COUNTS_PER_BLOCK) + SPARE_BLOCKS;
    if (wanted <= blocks) return { l2Tables, l1At, blocksAt, blocks, l2At, clusters };
    blocks = wanted;
  }
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
