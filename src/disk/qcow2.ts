/**
 * Writes empty qcow2 overlays: the copy-on-write disk of a box over its base disk.
 *
 * Format: QEMU's `docs/interop/qcow2.txt`, version 3. The file has four kinds of clusters, in this
 * order: header, refcount table, refcount block, L1 table. Everything else appears as the guest
 * writes.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

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
}

const CLUSTER_BITS = 16;
const CLUSTER = 1 << CLUSTER_BITS;
const HEADER_LENGTH = 104;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
/** Bytes that one L1 entry maps: an L2 table of 8-byte entries fills a cluster. */
const BYTES_PER_L1_ENTRY = (CLUSTER / 8) * CLUSTER;
const MAX_SIZE = 64 * 2 ** 40;

/**
 * Makes an empty overlay over a backing disk: at most 256 KiB for disks up to 4 TiB, whatever
 * the image's size.
 *
 * @throws HutchError `invalid_option` for a size or path that the format can't hold.
 */
export async function createOverlay(options: OverlayOptions): Promise<void> {
  const bytes = overlayBytes(options);
  await using file = await Deno.open(options.path, { write: true, createNew: true, mode: 0o600 })
    .then(disposable);
  for (let at = 0; at < bytes.length;) {
    at += await file.handle.write(bytes.subarray(at));
  }
}

function disposable(handle: Deno.FsFile) {
  return { handle, [Symbol.asyncDispose]: () => Promise.resolve(handle.close()) };
}

/** The overlay's whole content. */
export function overlayBytes(options: OverlayOptions): Uint8Array<ArrayBuffer> {
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
  const l1Entries = Math.ceil(sizeBytes / BYTES_PER_L1_ENTRY);
  const l1Clusters = Math.ceil((l1Entries * 8) / CLUSTER);
  const clusters = 3 + l1Clusters; // header, refcount table, refcount block, L1
  const bytes = new Uint8Array(clusters * CLUSTER);
  const view = new DataView(bytes.buffer);

  const format = new TextEncoder().encode(options.backingFormat);
  const extensionLength = 8 + roundUp(format.length, 8);
  const backingOffset = HEADER_LENGTH + extensionLength + 8;

  view.setUint32(0, 0x514649fb); // "QFI\xfb"
  view.setUint32(4, 3); // version
  view.setBigUint64(8, BigInt(backingOffset));
  view.setUint32(16, backing.length);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(sizeBytes));
  view.setUint32(32, 0); // no encryption
  view.setUint32(36, l1Entries);
  view.setBigUint64(40, BigInt(3 * CLUSTER)); // L1 table
  view.setBigUint64(48, BigInt(CLUSTER)); // refcount table
  view.setUint32(56, 1); // its clusters
  view.setUint32(96, 4); // refcounts of 2^4 bits
  view.setUint32(100, HEADER_LENGTH);

  view.setUint32(HEADER_LENGTH, EXTENSION_BACKING_FORMAT);
  view.setUint32(HEADER_LENGTH + 4, format.length);
  bytes.set(format, HEADER_LENGTH + 8);
  bytes.set(backing, backingOffset); // after the end-of-extensions mark, eight zero bytes

  view.setBigUint64(CLUSTER, BigInt(2 * CLUSTER)); // the one refcount block
  for (let cluster = 0; cluster < clusters; cluster++) view.setUint16(2 * CLUSTER + cluster * 2, 1);
  return bytes;
}

function roundUp(value: number, to: number): number {
  return Math.ceil(value / to) * to;
}
