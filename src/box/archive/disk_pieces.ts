/**
 * A box's disk as pieces of an archive, and back.
 *
 * @module
 */
import type { DiskChain } from "../../../ffi/helper.ts";
import type { OverlayWriter } from "../../disk/overlay_writer.ts";
import { HutchError } from "../../errors.ts";
import { isZero } from "../../images/base_disk/packed_disk.ts";
import { cancelled } from "../../images/wait.ts";
import { badArchive, CLUSTER, PIECE_DATA, PIECE_RUNS, RUN_DATA, RUN_ZEROS } from "./format.ts";
import type { TarReader } from "./tar_reader.ts";

/** Largest piece, in bytes. */
export const PIECE_LIMIT = 8 + PIECE_RUNS * 24 + PIECE_DATA;

interface Run {
  readonly start: number;
  readonly length: number;
  readonly kind: bigint;
}

/** A piece that is being gathered. */
class Piece {
  #runs: Run[] = [];
  #data: Uint8Array<ArrayBuffer>[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#runs.length === 0;
  }

  /** Whether another cluster may not fit. */
  get isFull(): boolean {
    return this.#runs.length === PIECE_RUNS || this.#bytes + CLUSTER > PIECE_DATA;
  }

  add(start: number, length: number, data?: Uint8Array<ArrayBuffer>): void {
    const kind = data ? RUN_DATA : RUN_ZEROS;
    const last = this.#runs.at(-1);
    if (last?.kind === kind && last.start + last.length === start) {
      this.#runs[this.#runs.length - 1] = { ...last, length: last.length + length };
    } else {
      this.#runs.push({ start, length, kind });
    }
    if (!data) return;
    this.#data.push(data);
    this.#bytes += data.length;
  }

  /** Its bytes; it is empty then. */
  take(): readonly Uint8Array<ArrayBuffer>[] {
    const head = new DataView(new ArrayBuffer(8 + this.#runs.length * 24));
    head.setBigUint64(0, BigInt(this.#runs.length), true);
    for (const [index, { start, length, kind }] of this.#runs.entries()) {
      head.setBigUint64(8 + index * 24, BigInt(start), true);
      head.setBigUint64(16 + index * 24, BigInt(length), true);
      head.setBigUint64(24 + index * 24, kind, true);
    }
    const parts = [new Uint8Array(head.buffer), ...this.#data];
    this.#runs = [];
    this.#data = [];
    this.#bytes = 0;
    return parts;
  }
}

/** Bytes that {@link diskPieces} will read, for those who want to know how far it is. */
export function bytesToRead(disk: DiskChain): number {
  let total = 0;
  for (const { length, zeros } of disk.runs()) total += zeros ? 0 : length;
  return total;
}

/**
 * What a disk holds over the last of its files. Clusters of zeros are no data.
 *
 * @param below Size of that file's disk in bytes: there is nothing to hide behind its end.
 * @throws {HutchError} `state_corrupt`, `cancelled`
 */
export async function* diskPieces(
  disk: DiskChain,
  { below, signal, onRead }: {
    readonly below: number;
    readonly signal: AbortSignal;
    readonly onRead: (bytes: number) => void;
  },
): AsyncGenerator<readonly Uint8Array<ArrayBuffer>[]> {
  const piece = new Piece();
  const parts = readParts(disk);
  // The next part is read while this one is looked through. (Where it is, is asked in between: the disk
  // is for one at a time.)
  const read = () => {
    if (signal.aborted) throw cancelled("export a box", signal);
    const { value, done } = parts.next();
    if (done) return undefined;
    const bytes = value.zeros ? undefined : new Uint8Array(value.length);
    const come = bytes && disk.read(value.start, bytes);
    come?.catch(() => {}); // seen when it is its turn
    return { ...value, bytes, come };
  };
  for (let next = read(); next;) {
    const { start, length, bytes, come } = next;
    await come;
    next = read();
    if (bytes) {
      onRead(length);
      for (let within = 0; within < length; within += CLUSTER) {
        const cluster = bytes.subarray(within, within + CLUSTER);
        if (!isZero(cluster)) piece.add(start + within, cluster.length, cluster);
        else if (start + within < below) piece.add(start + within, cluster.length);
        if (piece.isFull) yield piece.take();
      }
    } else if (start < below) piece.add(start, length);
    if (piece.isFull) yield piece.take();
  }
  if (!piece.isEmpty) yield piece.take();
}

/** Parts that are read at once, and whole runs of zeros. */
function* readParts(
  disk: DiskChain,
): Generator<{ readonly start: number; readonly length: number; readonly zeros: boolean }> {
  for (const { start, end, zeros } of wholeClusters(disk)) {
    const most = zeros ? end - start : PIECE_DATA;
    for (let at = start; at < end; at += most) {
      yield { start: at, length: Math.min(most, end - at), zeros };
    }
  }
}

/** Runs that begin and end with clusters, each cluster once: as data where it is both. */
function* wholeClusters(
  disk: DiskChain,
): Generator<{ readonly start: number; readonly end: number; readonly zeros: boolean }> {
  const { sizeBytes } = disk;
  let done = 0;
  for (const run of disk.runs()) {
    const first = run.start - run.start % CLUSTER;
    const last = Math.min(sizeBytes, Math.ceil((run.start + run.length) / CLUSTER) * CLUSTER);
    const whole = first === run.start && last === run.start + run.length;
    const start = Math.max(first, done);
    // Part of a cluster: the whole of it is read, whatever the rest is.
    if (last > start) yield { start, end: last, zeros: run.zeros && whole };
    done = Math.max(done, last);
  }
}

/** What is allowed of a disk in an archive. */
export interface PieceLimits {
  /** The disk's size in bytes. */
  readonly sizeBytes: number;
  /** Size of what it lies over, in bytes. */
  readonly below: number;
  /** Most data in all, in bytes. */
  readonly maxBytes: number;
}

/** Reads pieces, and writes what they say into an overlay. */
export class PieceReader {
  readonly #limits: PieceLimits;
  #next = 0;
  #bytes = 0;

  /** Reads nothing yet. */
  constructor(limits: PieceLimits) {
    this.#limits = limits;
  }

  /** Data so far, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Reads the present file of an archive, which is a piece of this size.
   *
   * @throws {HutchError} `invalid_archive`, `limit_exceeded`
   */
  async read(tar: TarReader, size: number, overlay: OverlayWriter): Promise<void> {
    const runs = await this.#runs(tar, size);
    for (const { start, length, kind } of runs) {
      if (kind === RUN_ZEROS) {
        const end = Math.min(start + length, Math.ceil(this.#limits.below / CLUSTER) * CLUSTER);
        if (end > start) await overlay.zeros(start, end - start);
      } else {
        await overlay.data(start, await tar.read(length));
      }
    }
  }

  async #runs(tar: TarReader, size: number): Promise<readonly Run[]> {
    const count = number(await tar.read(8), 0);
    if (count === 0 || count > PIECE_RUNS) throw badArchive("a piece of its disk has no runs");
    const head = await tar.read(count * 24);
    const runs: Run[] = [];
    let data = 0;
    for (let at = 0; at < head.length; at += 24) {
      const [start, length] = [number(head, at), number(head, at + 8)];
      const kind = BigInt(number(head, at + 16));
      this.#check(start, length, kind);
      if (kind === RUN_DATA) data += length;
      runs.push({ start, length, kind });
    }
    if (data > PIECE_DATA || size !== 8 + head.length + data) {
      throw badArchive("a piece of its disk hasn't the length that it says");
    }
    this.#bytes += data;
    const { maxBytes } = this.#limits;
    if (this.#bytes <= maxBytes) return runs;
    throw new HutchError(
      "limit_exceeded",
      `Cannot import a box: its disk has more than ${maxBytes} bytes of data`,
      { hint: "allow more, if that is what it should be (--max-bytes)" },
    );
  }

  #check(start: number, length: number, kind: bigint): void {
    const { sizeBytes } = this.#limits;
    if (kind !== RUN_DATA && kind !== RUN_ZEROS) {
      throw badArchive("a part of its disk is of no known kind");
    }
    const aligned = start % CLUSTER === 0 && length % CLUSTER === 0 && length > 0;
    if (!aligned || start < this.#next) throw badArchive("parts of its disk are out of order");
    if (length > sizeBytes || start > sizeBytes - length) {
      throw badArchive("a part of its disk is behind the disk's end");
    }
    this.#next = start + length;
  }
}

function number(bytes: Uint8Array<ArrayBuffer>, at: number): number {
  const value = new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw badArchive("a number in it can't be right");
  return Number(value);
}
