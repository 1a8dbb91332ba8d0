/**
 * Reading whole frames, one after the other in memory, so that runs of them can be passed on by
 * one write.
 *
 * @module
 */
import type { ByteSource } from "./blocks.ts";
import { emptyHeader, type FrameHeader, headerProblem, readHeader, type Side } from "./codec.ts";
import { HEADER_SIZE, MAX_PAYLOAD } from "./protocol.ts";

/** Room at first; enough for conversation. */
const SMALL = 16 * 1024;
/** Room once a frame didn't fit: one in work and one arriving. */
const LARGE = 2 * (HEADER_SIZE + MAX_PAYLOAD);

/**
 * Finds whole frames in a source. After {@link FrameReader.fill}, {@link FrameReader.next} steps
 * through the frames that are there; views on them hold until the next `fill`. Never more than
 * about 512 KiB, whatever comes.
 */
export class FrameReader {
  readonly #source: ByteSource;
  readonly #side: Side;
  #start = 0;
  #end = 0;
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(SMALL);
  view: DataView<ArrayBuffer> = new DataView(this.bytes.buffer);
  /** The current frame's header. */
  readonly header: FrameHeader = emptyHeader();
  /** Where the current frame begins (its header). */
  from = 0;
  /** Where the current frame ends. */
  to = 0;
  /** What is wrong with the bytes; nothing more is found after it. */
  problem: string | undefined;

  /** Reads what `side` sends from `source`. */
  constructor(source: ByteSource, side: Side) {
    this.#source = source;
    this.#side = side;
  }

  /** Bytes of memory that the reader holds. */
  get capacity(): number {
    return this.bytes.length;
  }

  /** The current frame's payload, as a view. */
  get payload(): Uint8Array<ArrayBuffer> {
    return this.bytes.subarray(this.from + HEADER_SIZE, this.to);
  }

  /** Reads once; false at the end of the source. */
  async fill(): Promise<boolean> {
    this.#makeRoom();
    const count = await this.#source.read(this.bytes.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }

  /** Goes to the next whole frame; false when more must be read, or there is a `problem`. */
  next(): boolean {
    if (this.problem !== undefined || this.#end - this.#start < HEADER_SIZE) return false;
    readHeader(this.view, this.#start, this.header);
    this.problem = headerProblem(this.header, this.#side);
    const to = this.#start + HEADER_SIZE + this.header.length;
    if (this.problem !== undefined || to > this.#end) return false;
    this.from = this.#start;
    this.to = to;
    this.#start = to;
    return true;
  }

  #makeRoom(): void {
    const left = this.#end - this.#start;
    if (left >= HEADER_SIZE && this.bytes.length === SMALL) {
      readHeader(this.view, this.#start, this.header);
      if (HEADER_SIZE + this.header.length > SMALL) {
        this.#move(new Uint8Array(LARGE));
        return;
      }
    }
    // Moving bytes costs; it is worth it only when the room behind them gets small.
    if (left === 0 || this.bytes.length - this.#end < this.bytes.length / 2) this.#move(this.bytes);
  }

  #move(into: Uint8Array<ArrayBuffer>): void {
    const left = this.#end - this.#start;
    if (into === this.bytes) {
      if (left > 0) into.copyWithin(0, this.#start, this.#end);
    } else {
      into.set(this.bytes.subarray(this.#start, this.#end));
      this.bytes = into;
      this.view = new DataView(into.buffer);
    }
    this.#start = 0;
    this.#end = left;
  }
}
