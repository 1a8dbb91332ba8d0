/**
 * The newest bytes of a stream that has no end in sight, by their place in the whole of it.
 *
 * @module
 */

/** Memory is made in steps of this size at first, in bytes. */
const LEAST = 4 * 1024;

/** A ring of bytes that grows as it is filled, up to what its user wants kept. */
export class Replay {
  #ring: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #start = 0;
  #end = 0;

  /** Place of the oldest byte that is kept. */
  get start(): number {
    return this.#start;
  }

  /** Place behind the newest byte: how many there were. */
  get end(): number {
    return this.#end;
  }

  /** Memory that it takes, in bytes. */
  get size(): number {
    return this.#ring.length;
  }

  /** Adds bytes, and drops the oldest so that at most `keep` stay. */
  append(bytes: Uint8Array, keep: number): void {
    const news = bytes.length > keep ? bytes.subarray(bytes.length - keep) : bytes;
    const skipped = bytes.length - news.length;
    if (skipped > 0) this.#start = this.#end += skipped;
    this.trim(keep - news.length);
    this.#fit(this.#end - this.#start + news.length, keep);
    let at = this.#end % this.#ring.length;
    for (let from = 0; from < news.length;) {
      const part = news.subarray(from, from + this.#ring.length - at);
      this.#ring.set(part, at);
      from += part.length;
      at = 0;
    }
    this.#end += news.length;
  }

  /** Drops the oldest bytes so that at most `keep` stay. */
  trim(keep: number): void {
    this.#start = Math.max(this.#start, this.#end - keep);
  }

  /** Gives memory back that the present bytes don't need. */
  shrink(): void {
    const length = this.#end - this.#start;
    if (this.#ring.length > 2 * Math.max(length, LEAST)) this.#move(length);
  }

  /** Bytes from a place on, as many as lie in one piece; they hold until the next `append`. */
  read(from: number, most: number): Uint8Array<ArrayBuffer> {
    if (from >= this.#end) return new Uint8Array(0);
    const at = from % this.#ring.length;
    const count = Math.min(this.#end - from, most, this.#ring.length - at);
    return this.#ring.subarray(at, at + count);
  }

  #fit(length: number, keep: number): void {
    if (length <= this.#ring.length) return;
    this.#move(Math.min(Math.max(LEAST, 2 * this.#ring.length, length), Math.max(keep, length)));
  }

  #move(size: number): void {
    const next = new Uint8Array(size);
    for (let from = this.#start; from < this.#end;) {
      const part = this.read(from, this.#end - from);
      const at = from % size;
      const fits = part.subarray(0, size - at);
      next.set(fits, at);
      from += fits.length;
    }
    this.#ring = next;
  }
}
