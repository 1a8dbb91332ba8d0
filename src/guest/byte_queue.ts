/**
 * Bytes that came and wait for their reader.
 *
 * @module
 */

/** Parts from this size on are kept where they are, smaller ones are copied together. */
const KEEP = 32 * 1024;
/** Small parts are gathered up to this size. */
const GATHER = 64 * 1024;

const nothing: Uint8Array<ArrayBuffer> = new Uint8Array(0);

/** Says that some memory must stay as it is until what this gives is called, if ever. */
export type Keep = () => () => void;

interface Chunk {
  bytes: Uint8Array<ArrayBuffer>;
  readonly release: () => void;
}

function releaseNothing(): void {}

/** A queue of byte chunks; a byte in it costs little more than a byte, however it came. */
export class ByteQueue {
  /** Chunks before the gathered one; never many, since small parts are gathered. */
  #chunks: Chunk[] = [];
  /** Memory of the last chunk, to which small parts are appended. */
  #tail = nothing;
  #tailUsed = 0;
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
  add(part: Uint8Array<ArrayBuffer>, keep: Keep): void {
    if (part.length === 0) return;
    this.#length += part.length;
    if (this.#length > this.#peak) this.#peak = this.#length;
    if (part.length >= KEEP) {
      this.#finishTail();
      this.#chunks.push({ bytes: part, release: keep() });
    } else {
      this.#gather(part);
    }
  }

  /** Takes the oldest chunk for good. */
  shift(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#chunks.length === 0) this.#finishTail();
    const chunk = this.#chunks.shift();
    if (chunk) this.#length -= chunk.bytes.length;
    return chunk?.bytes;
  }

  /** Copies the oldest bytes, as many as there are and fit, and says how many; their memory is let go of. */
  take(into: Uint8Array<ArrayBuffer>): number {
    this.#finishTail();
    let at = 0;
    for (let chunk = this.#chunks[0]; chunk && at < into.length; chunk = this.#chunks[0]) {
      const part = chunk.bytes.subarray(0, into.length - at);
      into.set(part, at);
      at += part.length;
      chunk.bytes = chunk.bytes.subarray(part.length);
      if (chunk.bytes.length > 0) break;
      this.#chunks.shift();
      chunk.release();
    }
    this.#length -= at;
    return at;
  }

  /** Drops all and says how many bytes that was. */
  clear(): number {
    const length = this.#length;
    for (const { release } of this.#chunks) release();
    this.#chunks = [];
    this.#tail = nothing;
    this.#tailUsed = 0;
    this.#length = 0;
    return length;
  }

  #gather(part: Uint8Array<ArrayBuffer>): void {
    if (this.#tailUsed + part.length > GATHER) this.#finishTail();
    const used = this.#tailUsed;
    const needed = used + part.length;
    if (needed > this.#tail.length) {
      // A lone part gets what it needs; one of many gets room for those that follow.
      const size = used === 0 ? needed : Math.min(GATHER, Math.max(needed, 2 * used, 1024));
      const grown = new Uint8Array(size);
      grown.set(this.#tail.subarray(0, used));
      this.#tail = grown;
    }
    this.#tail.set(part, used);
    this.#tailUsed = needed;
  }

  #finishTail(): void {
    if (this.#tailUsed === 0) return;
    const bytes = this.#tail.subarray(0, this.#tailUsed);
    this.#chunks.push({ bytes, release: releaseNothing });
    this.#tail = nothing;
    this.#tailUsed = 0;
  }
}
