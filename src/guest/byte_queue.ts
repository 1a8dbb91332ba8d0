/**
 * Bytes that came and wait for their reader.
 *
 * @module
 */

/** Parts from this size on are kept where they are, smaller ones are copied together. */
const KEEP = 32 * 1024;
/** Small parts are gathered up to this size. */
const GATHER = 64 * 1024;

/** A queue of byte chunks; a byte in it costs little more than a byte, however it came. */
export class ByteQueue {
  #chunks: Uint8Array<ArrayBuffer>[] = [];
  /** The last chunk's memory, if it is the queue's own and may be appended to. */
  #tail: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;
  #peak = 0;

  /** Bytes in the queue. */
  get length(): number {
    return this.#length;
  }

  /** The most bytes that were ever in the queue. */
  get peak(): number {
    return this.#peak;
  }

  /** Adds a part; `keep` is called if its memory must stay as it is from now on. */
  add(part: Uint8Array<ArrayBuffer>, keep: () => void): void {
    if (part.length === 0) return;
    this.#length += part.length;
    if (this.#length > this.#peak) this.#peak = this.#length;
    if (part.length >= KEEP) {
      keep();
      this.#chunks.push(part);
      this.#tail = undefined;
      return;
    }
    const last = this.#chunks.at(-1);
    if (last && this.#tail && last.length + part.length <= GATHER) this.#append(last, part);
    else {
      this.#tail = part.slice();
      this.#chunks.push(this.#tail);
    }
  }

  /** Takes the oldest chunk. */
  shift(): Uint8Array<ArrayBuffer> | undefined {
    // Parts are gathered, so that there are never many chunks to move up.
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return undefined;
    if (this.#chunks.length === 0) this.#tail = undefined;
    this.#length -= chunk.length;
    return chunk;
  }

  /** Drops all and says how many bytes that was. */
  clear(): number {
    const length = this.#length;
    this.#chunks = [];
    this.#tail = undefined;
    this.#length = 0;
    return length;
  }

  #append(last: Uint8Array<ArrayBuffer>, part: Uint8Array<ArrayBuffer>): void {
    const used = last.length;
    const needed = used + part.length;
    let tail = last.buffer.byteLength >= needed ? new Uint8Array(last.buffer) : undefined;
    if (!tail) {
      tail = new Uint8Array(Math.min(GATHER, Math.max(needed, 2 * used, 1024)));
      tail.set(last);
    }
    tail.set(part, used);
    this.#tail = tail;
    this.#chunks[this.#chunks.length - 1] = tail.subarray(0, needed);
  }
}
