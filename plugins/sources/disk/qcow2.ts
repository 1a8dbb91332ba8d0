/**
 * Reads qcow2 disks that nobody vouches for: QEMU's `docs/interop/qcow2.txt`, versions 2 and 3.
 * Only the file itself is read, never another one that it names.
 *
 * @module
 */
import { inflateRawSync } from "node:zlib";
import { type DiskContent, HutchError } from "../../../mod.ts";
import type { DiskFile } from "./disk_file.ts";

/** What a qcow2 file begins with: `QFI\xfb`. */
export const QCOW2_MAGIC = 0x514649fb;

const MAX_SIZE = 16 * 2 ** 40;
const MAX_L1_BYTES = 32 * 2 ** 20;
const CORRUPT = 2n;
const EXTERNAL_DATA = 4n;
const OTHER_COMPRESSION = 8n;
/** Dirty says that its counts of clusters may be wrong; they aren't looked at. */
const HARMLESS = 1n;

const OFFSET = 0x00fffffffffffe00n;
const L1_RESERVED = 0x7f000000000001ffn;
const L2_RESERVED = 0x3f000000000001fen;
const COMPRESSED = 1n << 62n;
const ZERO = 1n;

/** L2 tables looked at without saying anything: whoever asks may want to stop. */
const PATIENCE = 1024;
/** L2 tables kept: disks are read in order. */
const CACHED_TABLES = 4;

/** What its header says. */
interface Header {
  readonly clusterBits: number;
  readonly sizeBytes: number;
  readonly version: number;
  readonly l1Offset: number;
}

/** The disk inside of a qcow2 file. */
export class Qcow2Disk implements DiskContent {
  readonly #file: DiskFile;
  readonly #header: Header;
  readonly #l1: DataView;
  readonly #tables = new Map<number, DataView>();
  #inflated: { readonly entry: bigint; readonly bytes: Uint8Array<ArrayBuffer> } | undefined;

  private constructor(file: DiskFile, header: Header, l1: DataView) {
    this.#file = file;
    this.#header = header;
    this.#l1 = l1;
  }

  /**
   * Reads the header and the first table.
   *
   * @throws {HutchError} `invalid_image`
   */
  static async open(file: DiskFile): Promise<Qcow2Disk> {
    const header = await readHeader(file);
    const { sizeBytes, clusterBits, l1Offset } = header;
    const entries = Math.ceil(sizeBytes / 2 ** (2 * clusterBits - 3));
    const l1 = await readTable(file, l1Offset, entries * 8);
    return new Qcow2Disk(file, header, l1);
  }

  get name(): string {
    return this.#file.name;
  }

  get sizeBytes(): number {
    return this.#header.sizeBytes;
  }

  async read(offset: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    const cluster = 2 ** this.#header.clusterBits;
    for (let at = 0; at < into.length;) {
      const within = (offset + at) % cluster;
      const part = into.subarray(at, Math.min(into.length, at + cluster - within));
      await this.#readPart(await this.#entry(offset + at), within, part);
      at += part.length;
    }
  }

  /** Skips what the tables say is empty, as far as it has looked. */
  async nextData(offset: number): Promise<number> {
    const cluster = 2 ** this.#header.clusterBits;
    const perTable = cluster / 8;
    let at = Math.floor(offset / cluster);
    for (let looked = 0; at * cluster < this.sizeBytes; looked++) {
      if (looked >= PATIENCE) return Math.max(at * cluster, offset);
      const table = await this.#table(Math.floor(at / perTable));
      if (!table) {
        at = (Math.floor(at / perTable) + 1) * perTable;
        continue;
      }
      for (let index = at % perTable; index < perTable; index++, at++) {
        if (!this.#isEmpty(table.getBigUint64(index * 8))) return Math.max(at * cluster, offset);
      }
    }
    return this.sizeBytes;
  }

  check(): Promise<void> {
    return this.#file.check();
  }

  #isEmpty(entry: bigint): boolean {
    if ((entry & COMPRESSED) !== 0n) return false;
    return (entry & OFFSET) === 0n || (this.#header.version > 2 && (entry & ZERO) !== 0n);
  }

  /** What the L2 tables say of the cluster at `offset`; 0 where there is no table. */
  async #entry(offset: number): Promise<bigint> {
    const index = Math.floor(offset / 2 ** this.#header.clusterBits);
    const perTable = 2 ** (this.#header.clusterBits - 3);
    const table = await this.#table(Math.floor(index / perTable));
    return table?.getBigUint64((index % perTable) * 8) ?? 0n;
  }

  async #table(index: number): Promise<DataView | undefined> {
    const known = this.#tables.get(index);
    if (known) return known;
    const entry = this.#l1.getBigUint64(index * 8);
    if ((entry & L1_RESERVED) !== 0n) throw invalid(this.name, "its L1 table is damaged");
    const offset = Number(entry & OFFSET);
    if (offset === 0) return undefined;
    const table = await readTable(this.#file, offset, 2 ** this.#header.clusterBits);
    const [oldest] = this.#tables.keys();
    if (oldest !== undefined && this.#tables.size >= CACHED_TABLES) this.#tables.delete(oldest);
    this.#tables.set(index, table);
    return table;
  }

  async #readPart(entry: bigint, within: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    if ((entry & COMPRESSED) !== 0n) {
      into.set((await this.#inflate(entry)).subarray(within, within + into.length));
      return;
    }
    if ((entry & L2_RESERVED) !== 0n) throw invalid(this.name, "an L2 table is damaged");
    if (this.#isEmpty(entry)) {
      into.fill(0);
      return;
    }
    const offset = Number(entry & OFFSET);
    if (offset % 2 ** this.#header.clusterBits !== 0 || offset >= this.#file.length) {
      throw invalid(this.name, "an L2 table is damaged");
    }
    await this.#file.read(offset + within, into);
  }

  /** A compressed cluster: a bare deflate stream somewhere in its sectors. */
  async #inflate(entry: bigint): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#inflated?.entry === entry) return this.#inflated.bytes;
    const { clusterBits } = this.#header;
    const offsetBits = BigInt(62 - (clusterBits - 8));
    const value = entry & (COMPRESSED - 1n);
    const offset = Number(value & ((1n << offsetBits) - 1n));
    const sectors = Number(value >> offsetBits) + 1;
    const end = Math.min(this.#file.length, offset - offset % 512 + sectors * 512);
    if (end <= offset) throw invalid(this.name, "a compressed piece is behind its end");
    const packed = new Uint8Array(end - offset);
    await this.#file.read(offset, packed);
    const bytes = inflated(packed, 2 ** clusterBits);
    if (!bytes) throw invalid(this.name, "a compressed piece is damaged");
    this.#inflated = { entry, bytes };
    return bytes;
  }
}

function inflated(
  packed: Uint8Array<ArrayBuffer>,
  size: number,
): Uint8Array<ArrayBuffer> | undefined {
  try {
    const bytes = new Uint8Array(inflateRawSync(packed, { maxOutputLength: size }));
    return bytes.length === size ? bytes : undefined;
  } catch {
    return undefined;
  }
}

async function readHeader(file: DiskFile): Promise<Header> {
  const { name } = file;
  const head = new Uint8Array(112);
  await file.read(0, head);
  const view = new DataView(head.buffer);
  if (file.length < 72 || view.getUint32(0) !== QCOW2_MAGIC) {
    throw invalid(name, "it isn't a qcow2 disk");
  }
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) throw invalid(name, `its version is ${version}, not 2 or 3`);
  if (view.getBigUint64(8) !== 0n || view.getUint32(16) !== 0) {
    throw invalid(
      name,
      "it has a backing file",
      `put both together first (qemu-img convert -O qcow2 …)`,
    );
  }
  if (view.getUint32(32) !== 0) throw invalid(name, "it is encrypted");
  if (version === 3) checkFeatures(name, view);
  const clusterBits = view.getUint32(20);
  if (clusterBits < 9 || clusterBits > 21) throw invalid(name, "its clusters have no valid size");
  const size = view.getBigUint64(24);
  if (size === 0n || size > BigInt(MAX_SIZE)) {
    throw invalid(name, `its size of ${size} bytes isn't from 1 byte to 16 TiB`);
  }
  const sizeBytes = Math.ceil(Number(size) / 512) * 512;
  const entries = Math.ceil(sizeBytes / 2 ** (2 * clusterBits - 3));
  const own = view.getUint32(36);
  if (own < entries || entries * 8 > MAX_L1_BYTES) {
    throw invalid(name, "its L1 table doesn't fit its size");
  }
  return { clusterBits, sizeBytes, version, l1Offset: Number(view.getBigUint64(40)) };
}

function checkFeatures(name: string, view: DataView): void {
  if (view.getUint32(100) < 104) throw invalid(name, "its header is too short");
  const features = view.getBigUint64(72);
  if ((features & CORRUPT) !== 0n) throw invalid(name, "it is marked as corrupt");
  if ((features & EXTERNAL_DATA) !== 0n) throw invalid(name, "its data is in another file");
  if ((features & OTHER_COMPRESSION) !== 0n) {
    throw invalid(
      name,
      "it isn't compressed with zlib",
      "write it anew (qemu-img convert -O qcow2 …)",
    );
  }
  const unknown = features & ~(CORRUPT | EXTERNAL_DATA | OTHER_COMPRESSION | HARMLESS);
  if (unknown === 0n) return;
  throw invalid(
    name,
    `it uses features that hutch doesn't know (0x${unknown.toString(16)})`,
    "write it anew without them (qemu-img convert -O qcow2 -o extended_l2=off …)",
  );
}

async function readTable(file: DiskFile, offset: number, length: number): Promise<DataView> {
  const inside = Number.isSafeInteger(offset) && offset > 0 && offset % 512 === 0 &&
    offset + length <= file.length;
  if (!inside) throw invalid(file.name, "a table is behind its end");
  const bytes = new Uint8Array(length);
  await file.read(offset, bytes);
  return new DataView(bytes.buffer);
}

function invalid(name: string, problem: string, hint?: string): HutchError {
  const options = hint === undefined ? {} : { hint };
  return new HutchError("invalid_image", `Cannot read ${name}: ${problem}`, options);
}
