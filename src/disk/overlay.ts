/**
 * Reads what is written in a qcow2 overlay of hutch's own: which clusters it has, and where. Nothing
 * is believed that leads out of the file.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** Bytes of a cluster. */
export const CLUSTER = 1 << 16;
/** Clusters that one L2 table maps. */
export const PER_TABLE = CLUSTER / 8;
const MAGIC = 0x514649fb; // "QFI\xfb"
const HEADER = 104;
const OFFSET = 0x00ff_ffff_ffff_fe00n;
const COMPRESSED = 1n << 62n;
const ZERO = 1n;
const MOST_TABLES = 1 << 18; // of 64 TiB, and more

/** In a {@link ClusterMap}: not there, so the disk below counts. */
export const ABSENT = 0;
/** In a {@link ClusterMap}: zeros. */
export const ZEROS = 1;

/** An overlay's header. */
export interface OverlayHeader {
  /** Size of the disk as the guest sees it, in bytes. */
  readonly sizeBytes: number;
  /** Path of the disk below, as it is written. */
  readonly backingPath: string;
  /** Where each L2 table is; 0 for none. */
  readonly tables: readonly number[];
}

/**
 * Per L2 table that has anything: for each cluster {@link ABSENT}, {@link ZEROS}, or where its data is
 * in the file.
 */
export type ClusterMap = ReadonlyMap<number, Float64Array>;

/** An overlay that is open for reading. */
export class Overlay implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #path: string;
  readonly #length: number;
  readonly header: OverlayHeader;

  /**
   * Opens a file.
   *
   * @throws HutchError `state_corrupt` when it isn't an overlay of hutch's; `Deno.errors.NotFound`.
   */
  constructor(path: string) {
    this.#path = path;
    this.#file = Deno.openSync(path);
    try {
      this.#length = this.#file.statSync().size;
      this.header = this.#readHeader();
    } catch (error) {
      this.#file.close();
      throw error;
    }
  }

  /** Whether nothing is written in it: it reads as what is below. */
  isEmpty(): boolean {
    return this.#tables().next().done === true;
  }

  /** What is where. */
  map(): ClusterMap {
    return new Map(this.#tables());
  }

  /** Reads a cluster, or as much as `into` holds, from where its data is. */
  read(at: number, into: Uint8Array): void {
    this.#file.seekSync(at, Deno.SeekMode.Start);
    for (let done = 0; done < into.length;) {
      const got = this.#file.readSync(into.subarray(done));
      if (got === null) { // the last cluster of a file may be cut short
        into.fill(0, done);
        return;
      }
      done += got;
    }
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  *#tables(): Generator<[number, Float64Array], void> {
    const bytes = new Uint8Array(CLUSTER);
    const view = new DataView(bytes.buffer);
    for (const [index, at] of this.header.tables.entries()) {
      if (at === 0) continue;
      this.read(at, bytes);
      if (isZero(bytes)) continue;
      const table = new Float64Array(PER_TABLE);
      let some = false;
      for (let n = 0; n < PER_TABLE; n++) {
        table[n] = this.#place(view.getBigUint64(n * 8));
        some ||= table[n] !== ABSENT;
      }
      if (some) yield [index, table];
    }
  }

  #place(entry: bigint): number {
    if (entry & COMPRESSED) throw this.#broken("it has compressed clusters");
    if (entry & ZERO) return ZEROS;
    const at = Number(entry & OFFSET);
    if (at % CLUSTER !== 0 || at > this.#length) throw this.#broken("its tables lead out of it");
    return at;
  }

  #readHeader(): OverlayHeader {
    const bytes = new Uint8Array(2 * CLUSTER);
    this.read(0, bytes.subarray(0, CLUSTER));
    const view = new DataView(bytes.buffer);
    const [backingAt, sizeBytes, l1At] = [8, 24, 40].map((at) => Number(view.getBigUint64(at)));
    const [nameLength, entries] = [16, 36].map((at) => view.getUint32(at));
    const known = view.getUint32(0) === MAGIC && view.getUint32(4) === 3 &&
      view.getUint32(20) === 16 && view.getUint32(32) === 0 && view.getUint32(100) >= HEADER &&
      // Features that change what the tables mean; those of a crash (dirty, corrupt) aren't ours.
      view.getBigUint64(72) === 0n;
    if (!known || nameLength === undefined || nameLength === 0 || nameLength > 1023) {
      throw this.#broken("it isn't a disk of hutch's");
    }
    if (
      backingAt === undefined || sizeBytes === undefined || l1At === undefined ||
      entries === undefined || entries > MOST_TABLES || backingAt + nameLength > CLUSTER ||
      !Number.isSafeInteger(sizeBytes) || l1At % CLUSTER !== 0 ||
      l1At + entries * 8 > this.#length ||
      entries * CLUSTER * PER_TABLE < sizeBytes
    ) {
      throw this.#broken("its header is damaged");
    }
    const backingPath = new TextDecoder().decode(bytes.subarray(backingAt, backingAt + nameLength));
    return { sizeBytes, backingPath, tables: this.#readTables(l1At, entries) };
  }

  #readTables(l1At: number, entries: number): number[] {
    const bytes = new Uint8Array(entries * 8);
    this.read(l1At, bytes);
    const view = new DataView(bytes.buffer);
    return Array.from({ length: entries }, (_, index) => {
      const at = Number(view.getBigUint64(index * 8) & OFFSET);
      if (at % CLUSTER !== 0 || at > this.#length) throw this.#broken("its tables lead out of it");
      return at;
    });
  }

  #broken(why: string): HutchError {
    return new HutchError("state_corrupt", `Cannot read disk ${this.#path}: ${why}`);
  }
}

/** Whether a cluster, or another piece of whole words, is all zero. */
export function isZero(cluster: Uint8Array<ArrayBuffer>): boolean {
  const words = new Uint32Array(cluster.buffer, cluster.byteOffset, cluster.byteLength / 4);
  for (let n = 0; n < words.length; n++) { // a hot loop
    if (words[n] !== 0) return false;
  }
  return true;
}
