/**
 * Reads a disk that several files make together: see `ffi/helper/chain.h`.
 *
 * @module
 */
import { HutchError } from "../src/errors.ts";
import { helper } from "./library.ts";
import { OutPointer, textAt } from "./memory.ts";
import { errnoName } from "./result.ts";

/** One file of a disk. */
export interface DiskFile {
  /** Its path. */
  readonly path: string;
  /** Its format, which is never guessed. */
  readonly format: "raw" | "qcow2";
}

/** What a part of a disk holds. */
export interface DiskRun {
  /** Where it begins, in bytes. */
  readonly start: number;
  /** How long it is, in bytes. */
  readonly length: number;
  /** Whether it reads as zeros, whatever is below. */
  readonly zeros: boolean;
}

const ZEROS = 2;

/** A disk that is read by one caller at a time. */
export class DiskChain implements Disposable {
  readonly #files: readonly DiskFile[];
  #handle: Deno.PointerValue;
  #busy: Promise<unknown> | undefined;

  private constructor(files: readonly DiskFile[], handle: Deno.PointerValue) {
    this.#files = files;
    this.#handle = handle;
  }

  /**
   * Opens a disk.
   *
   * @param files The uppermost first, each over the next one.
   * @throws HutchError `state_corrupt` when one isn't what it should be, `part_missing`
   */
  static open(files: readonly DiskFile[]): DiskChain {
    const out = new OutPointer();
    const text = files.map(({ path, format }) => `${format === "qcow2" ? "q" : "r"}${path}\0`);
    const bytes = new TextEncoder().encode(text.join(""));
    const result = helper().hutch_chain_open(bytes, BigInt(bytes.length), out.room);
    const chain = new DiskChain(files, out.value);
    if (result >= 0) return chain;
    using _chain = chain;
    throw chain.#failure(result);
  }

  /** Its size in bytes. */
  get sizeBytes(): number {
    return Number(helper().hutch_chain_size(this.handle));
  }

  /** For C alone. */
  get handle(): Deno.PointerValue {
    if (this.#handle === null) throw new TypeError("a disk that is closed");
    return this.#handle;
  }

  /**
   * What the uppermost files say of the disk: all runs, in order.
   *
   * @param depth How many files. @default {all but the last}
   * @throws HutchError `state_corrupt`
   */
  *runs(depth = this.#files.length - 1): Generator<DiskRun> {
    const run = new BigUint64Array(3);
    for (let offset = 0;;) {
      const result = helper().hutch_chain_next(this.handle, depth, BigInt(offset), run);
      if (result < 0) throw this.#failure(result);
      const [start = 0, length = 0, kind = 0] = [...run].map(Number);
      if (kind === 0) return;
      yield { start, length, zeros: kind === ZEROS };
      offset = start + length;
    }
  }

  /**
   * Fills a buffer with the disk's bytes.
   *
   * @throws HutchError `state_corrupt`
   */
  async read(offset: number, buffer: Uint8Array<ArrayBuffer>): Promise<void> {
    const { handle } = this;
    const reading = helper().hutch_chain_read(
      handle,
      BigInt(offset),
      buffer,
      BigInt(buffer.length),
    );
    this.#busy = reading;
    try {
      const result = Number(await reading);
      if (result < 0) throw this.#failure(result);
    } finally {
      this.#busy = undefined;
    }
  }

  /** Closes it, once a read that is going on has ended. Idempotent. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    const close = () => helper().hutch_chain_close(handle);
    if (this.#busy) this.#busy.then(close, close);
    else close();
  }

  #failure(result: number): HutchError {
    const why = this.#handle === null ? "" : textAt(helper().hutch_chain_error(this.#handle));
    return new HutchError(
      "state_corrupt",
      `Cannot read disk ${this.#files[0]?.path}: ${why || errnoName(result)}`,
    );
  }
}
