/**
 * zstd, frame by frame, off the main thread: Deno's own (2.9) works on it, and has no way to tell of
 * damage in the background but to end the program.
 *
 * @module
 */
import { helper } from "./library.ts";
import { OutPointer } from "./memory.ts";
import { errnoName, unwrap } from "./result.ts";

/** Makes one frame at a time, or takes one apart; several of them work at once. */
export class ZstdCoder implements Disposable {
  #handle: Deno.PointerValue;
  #busy: Promise<unknown> | undefined;

  /**
   * Does nothing yet.
   *
   * @throws HutchError `part_missing`
   */
  constructor() {
    const out = new OutPointer();
    unwrap(helper().hutch_zstd_open(out.room), "compress");
    this.#handle = out.value;
  }

  /** Room that a frame of so many bytes needs, whatever they are. */
  static room(length: number): number {
    return length + (length >> 8) + 64 * 1024;
  }

  /**
   * Makes a frame, with its length and a checksum.
   *
   * @param frame Gets it; see {@link ZstdCoder.room}.
   * @returns The part of `frame` that it takes.
   */
  async pack(
    plain: Uint8Array<ArrayBuffer>,
    frame: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const [handle, library] = [this.#open(), helper()];
    const working = library.hutch_zstd_pack(
      ...[handle, plain, BigInt(plain.length), frame, BigInt(frame.length)] as const,
    );
    return frame.subarray(0, unwrap(await this.#while(working), "compress"));
  }

  /**
   * Takes one frame apart.
   *
   * @param plain Gets its bytes: no more memory is taken, whatever the frame says of itself.
   * @returns The part of `plain` that they take; undefined when it isn't one whole frame, is damaged, or
   * has more than there is room for.
   */
  async unpack(
    frame: Uint8Array<ArrayBuffer>,
    plain: Uint8Array<ArrayBuffer>,
  ): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const [handle, library] = [this.#open(), helper()];
    const working = library.hutch_zstd_unpack(
      ...[handle, frame, BigInt(frame.length), plain, BigInt(plain.length)] as const,
    );
    const got = await this.#while(working);
    if (got < 0 && errnoName(got) === "EBADMSG") return undefined;
    return plain.subarray(0, unwrap(got, "decompress"));
  }

  /** Frees it, once what it works on has ended. Idempotent. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    const close = () => helper().hutch_zstd_close(handle);
    if (this.#busy) this.#busy.then(close, close);
    else close();
  }

  #open(): Deno.PointerObject {
    if (this.#handle === null || this.#busy) {
      throw new TypeError("a coder that is closed, or at work");
    }
    return this.#handle;
  }

  async #while(working: Promise<bigint>): Promise<number> {
    this.#busy = working;
    try {
      return Number(await working);
    } finally {
      this.#busy = undefined;
    }
  }
}
