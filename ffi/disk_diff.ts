/**
 * What a disk has over its base, as a layer of an image: see `ffi/helper/diff.h`.
 *
 * @module
 */
import { type ErrorCode, HutchError } from "../src/errors.ts";
import type { DiskFile } from "./disk_chain.ts";
import { helper } from "./library.ts";
import { OutPointer, textAt } from "./memory.ts";
import { errnoName } from "./result.ts";

/** Options of {@link DiskDiff.open}. */
export interface DiskDiffOptions {
  /** Ends the comparison, and the reading of the layer. */
  readonly signal: AbortSignal;
  /** Whether everything is in the layer, whatever the lowest file has. @default {false} */
  readonly whole?: boolean;
  /** Entries of the disk, at most. @default {5,000,000} */
  readonly maxEntries?: number;
}

const PIECE = 512 * 1024;
const CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ["EFBIG", "limit_exceeded"],
  ["ENOMEM", "limit_exceeded"],
  ["ECANCELED", "cancelled"],
  ["ENOTSUP", "invalid_option"],
  ["EOPNOTSUPP", "invalid_option"],
  ["EILSEQ", "invalid_image"],
]);

const COPY = "copy what is needed out of the box (hutch cp), and make another one with it";
/** What the box itself may read all the same. */
const COPIED: readonly string[] = ["EFBIG", "EBADMSG"];

/** Where C sees that a signal was given. */
class Cancelling implements Disposable {
  readonly flag = new Int32Array(1);
  readonly #signal: AbortSignal;
  readonly #cancel = () => {
    this.flag[0] = 1;
  };

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener("abort", this.#cancel, { once: true });
    if (signal.aborted) this.#cancel();
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#cancel);
  }
}

/** A layer that is read once, by one caller. */
export class DiskDiff implements Disposable {
  readonly #cancelling: Cancelling;
  #handle: Deno.PointerValue;
  #busy: Promise<unknown> | undefined;

  private constructor(handle: Deno.PointerValue, cancelling: Cancelling) {
    this.#handle = handle;
    this.#cancelling = cancelling;
  }

  /**
   * Compares a disk with the lowest of its files.
   *
   * @param files The uppermost first, each over the next one.
   * @throws HutchError `state_corrupt` when one is damaged, `invalid_option` when they aren't ext4 that
   * can be read, `invalid_image` for what a layer can't hold, `limit_exceeded`, `cancelled`
   */
  static async open(
    files: readonly DiskFile[],
    { signal, whole = false, maxEntries = 0 }: DiskDiffOptions,
  ): Promise<DiskDiff> {
    const out = new OutPointer();
    const text = files.map(({ path, format }) => `${format === "qcow2" ? "q" : "r"}${path}\0`);
    const bytes = new TextEncoder().encode(text.join(""));
    const cancelling = new Cancelling(signal);
    let result: number;
    try {
      result = await helper().hutch_diff_open(
        bytes,
        BigInt(bytes.length),
        whole ? 1 : 0,
        BigInt(maxEntries),
        cancelling.flag,
        out.room,
      );
    } catch (error) {
      cancelling[Symbol.dispose]();
      throw error;
    }
    const diff = new DiskDiff(out.value, cancelling);
    if (result >= 0) return diff;
    using _diff = diff;
    throw diff.#failure(result);
  }

  /** How many entries the layer has, and how many sockets were left out. */
  get counts(): { readonly entries: number; readonly whiteouts: number; readonly sockets: number } {
    const count = (what: number) => Number(helper().hutch_diff_count(this.#open(), what));
    return { entries: count(0), whiteouts: count(1), sockets: count(2) };
  }

  /**
   * The layer's bytes: a tar in the pax format.
   *
   * @throws HutchError as {@link DiskDiff.open} does.
   */
  async *bytes(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    for (;;) {
      const piece = new Uint8Array(PIECE);
      const reading = helper().hutch_diff_read(this.#open(), piece, BigInt(piece.length));
      this.#busy = reading;
      let got: number;
      try {
        got = Number(await reading);
      } finally {
        this.#busy = undefined;
      }
      if (got < 0) throw this.#failure(got);
      if (got === 0) return;
      yield piece.subarray(0, got);
    }
  }

  /** Lets go of everything, once a call that still runs has ended. Idempotent. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return this.#cancelling[Symbol.dispose]();
    this.#handle = null;
    const close = () => {
      helper().hutch_diff_close(handle);
      this.#cancelling[Symbol.dispose](); // the flag was looked at until now
    };
    if (this.#busy) this.#busy.then(close, close);
    else close();
  }

  #open(): Deno.PointerValue {
    if (this.#handle === null) throw new TypeError("a layer that is closed");
    return this.#handle;
  }

  #failure(result: number): HutchError {
    const name = errnoName(result);
    const why = this.#handle === null ? "" : textAt(helper().hutch_diff_error(this.#handle));
    return new HutchError(
      CODES.get(name) ?? "state_corrupt",
      `Cannot read the box's disk: ${why || name}`,
      COPIED.includes(name) ? { hint: COPY } : {},
    );
  }
}
