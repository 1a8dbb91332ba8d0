/**
 * Cuts a zstd stream into its frames, as RFC 8878 has them, without looking into their blocks.
 *
 * @module
 */
import { badArchive } from "./format.ts";

const MAGIC = 0xfd2fb528;
/** Longest frame: 4 MiB that can't be compressed, and what is around them. */
const FRAME_LIMIT = 4 * 2 ** 20 + 64 * 1024;
const CHECKSUM = 4;
const BLOCK_HEAD = 3;
/** Type of a block that is one byte, repeated. */
const REPEATED = 1;

/**
 * The frames of a stream, each whole.
 *
 * @throws {HutchError} `invalid_archive`, and what the source throws.
 */
export async function* zstdFrames(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const frame = new FrameBuffer(source);
  while (await frame.begin()) {
    await frame.need(6); // what every frame has before its first block
    if (frame.number(0, 4) !== MAGIC) throw badArchive("it isn't zstd, or is damaged");
    const descriptor = frame.number(4, 1);
    let length = 5 + headLength(descriptor);
    for (let last = false; !last;) {
      await frame.need(length + BLOCK_HEAD);
      const head = frame.number(length, BLOCK_HEAD);
      last = (head & 1) === 1;
      length += BLOCK_HEAD + ((head >> 1 & 3) === REPEATED ? 1 : head >> 3);
      if (length > FRAME_LIMIT) throw badArchive("a part of it is larger than hutch makes them");
    }
    if (descriptor & 4) length += CHECKSUM;
    yield await frame.take(length);
  }
}

/** Bytes between a frame's descriptor and its first block. */
function headLength(descriptor: number): number {
  const single = (descriptor >> 5 & 1) === 1;
  const size = [single ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  return (single ? 0 : 1) + dictionary + size;
}

/** The beginning of what wasn't taken yet. */
class FrameBuffer {
  readonly #source: AsyncIterator<Uint8Array<ArrayBuffer>>;
  #bytes = new Uint8Array(FRAME_LIMIT);
  #start = 0;
  #end = 0;
  #chunk = new Uint8Array(0);

  constructor(source: AsyncIterable<Uint8Array<ArrayBuffer>>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** Whether there is more. */
  async begin(): Promise<boolean> {
    return this.#end > this.#start || await this.#fill();
  }

  /** Waits until so many bytes are there. */
  async need(count: number): Promise<void> {
    while (this.#end - this.#start < count) {
      if (!await this.#fill()) throw badArchive("it is cut short");
    }
  }

  /** A little-endian number. */
  number(at: number, count: number): number {
    let value = 0;
    for (let index = count; index-- > 0;) {
      value = value * 256 + (this.#bytes[this.#start + at + index] ?? 0);
    }
    return value;
  }

  /** Takes bytes away. */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    await this.need(count);
    const taken = this.#bytes.slice(this.#start, this.#start + count);
    this.#start += count;
    return taken;
  }

  async #fill(): Promise<boolean> {
    while (this.#chunk.length === 0) {
      const { value, done } = await this.#source.next();
      if (done) return false;
      this.#chunk = value;
    }
    if (this.#end === this.#bytes.length || this.#start === this.#end) {
      this.#bytes.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    const part = this.#chunk.subarray(0, this.#bytes.length - this.#end);
    if (part.length === 0) throw badArchive("a part of it is larger than hutch makes them");
    this.#bytes.set(part, this.#end);
    this.#end += part.length;
    this.#chunk = this.#chunk.subarray(part.length);
    return true;
  }
}
