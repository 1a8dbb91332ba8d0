/**
 * Writes ext4 images.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { HutchError } from "../src/errors.ts";
import { helper } from "./library.ts";
import { OutPointer, textAt } from "./memory.ts";
import { cString, unwrap } from "./result.ts";

/**
 * What an image may hold, all its layers together; making a disk of more is refused with
 * `limit_exceeded`.
 */
export interface ImageLimits {
  /** Bytes of the unpacked layers, and of the blocks that files take. @default {64 GiB} */
  readonly maxBytes?: number;
  /** Entries of the layers. @default {5,000,000} */
  readonly maxEntries?: number;
  /** Memory for names, attributes and the tree, in bytes; 5 million entries take 1 to 2 GiB. @default {2 GiB} */
  readonly maxMemory?: number;
}

/** Every limit of {@link ImageLimits}. */
export const IMAGE_LIMITS: Record<keyof ImageLimits, true> = {
  maxBytes: true,
  maxEntries: true,
  maxMemory: true,
};

/**
 * Refuses limits that can't be meant.
 *
 * @throws HutchError `invalid_option` for one that is no positive integer
 */
export function checkLimits(limits: ImageLimits): void {
  limitOf("maxBytes", limits.maxBytes);
  limitOf("maxEntries", limits.maxEntries);
  limitOf("maxMemory", limits.maxMemory);
}

/**
 * An ext4 file system on its way into a file. The same calls give the same bytes.
 *
 * One call at a time: what returns a promise must have settled before the next call.
 */
export class Ext4Image implements Disposable {
  readonly #path: string;
  #handle: Deno.PointerValue;
  #busy: Promise<unknown> | undefined;

  private constructor(path: string, handle: Deno.PointerValue) {
    this.#path = path;
    this.#handle = handle;
  }

  /**
   * Begins an image.
   *
   * @param path The file to write; it must not exist. Without {@link finish} it is for the caller
   * to remove.
   * @param uuidFrom Text that the file system's UUID is derived from.
   * @throws HutchError `part_missing`, `invalid_option` (the file exists, its folder doesn't),
   * `no_space`, `home_unusable`
   */
  static create(path: string, uuidFrom: string, limits: ImageLimits = {}): Ext4Image {
    const library = helper();
    const out = new OutPointer();
    const options = packOptions(uuidFrom, limits);
    const result = library.hutch_ext4_create(cString(path), options, out.room);
    unwrap(result, `write image ${path}`);
    return new Ext4Image(path, out.value);
  }

  /**
   * Applies one layer over what is there, by the rules of the OCI image specification.
   *
   * @param tar The plain archive, in pieces of any size. A piece is read while the next one is
   * made, and must not change meanwhile.
   * @throws HutchError `invalid_image`, `limit_exceeded`, `no_space`, and what `tar` throws. The
   * image can't be used after that.
   */
  async applyLayer(tar: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<void> {
    const library = helper();
    this.#check(library.hutch_ext4_layer_begin(this.#idle()));
    let pushed: Promise<void> = Promise.resolve();
    try {
      for await (const piece of tar) {
        await pushed;
        pushed = this.#push(piece);
        pushed.catch(() => {}); // seen at the next await
      }
    } finally {
      // Also when `tar` throws: C may still read the last piece.
      await pushed;
    }
    this.#check(library.hutch_ext4_layer_end(this.#idle()));
  }

  /** Makes a folder of root's; `path` is absolute in the image, its parent exists. */
  mkdir(path: string, mode: number): void {
    this.#check(helper().hutch_ext4_mkdir(this.#idle(), cString(path), mode));
  }

  /** Makes a file of root's. */
  file(path: string, mode: number, bytes: Uint8Array<ArrayBuffer>): void {
    const length = BigInt(bytes.length);
    this.#check(helper().hutch_ext4_file(this.#idle(), cString(path), mode, bytes, length));
  }

  /** Makes a symbolic link of root's. */
  symlink(path: string, target: string): void {
    this.#check(helper().hutch_ext4_symlink(this.#idle(), cString(path), cString(target)));
  }

  /** Writes all that is left and syncs the file. */
  async finish(): Promise<void> {
    this.#check(await this.#run(helper().hutch_ext4_finish(this.#idle())));
  }

  /** Lets go of everything, once a call that still runs has ended. Idempotent. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    const close = () => helper().hutch_ext4_close(handle);
    if (this.#busy) this.#busy.then(close, close);
    else close();
  }

  async #push(piece: Uint8Array<ArrayBuffer>): Promise<void> {
    const length = BigInt(piece.length);
    if (length === 0n) return;
    const result = await this.#run(
      helper().hutch_ext4_layer_push(this.#idle(), piece, length),
    );
    // Deno keeps only the call's pointer: naming the piece here keeps its memory until C is done.
    if (piece.length !== Number(length)) throw new TypeError("a piece changed while it was read");
    this.#check(result);
  }

  async #run(call: Promise<number>): Promise<number> {
    this.#busy = call;
    try {
      return await call;
    } finally {
      this.#busy = undefined;
    }
  }

  #idle(): Deno.PointerValue {
    if (this.#handle !== null && !this.#busy) return this.#handle;
    const state = this.#busy ? "another call still runs" : "it is closed";
    throw new HutchError("invalid_option", `Cannot write image ${this.#path}: ${state}`);
  }

  #check(result: number): void {
    unwrap(
      result,
      `write image ${this.#path}`,
      () => this.#handle === null ? "" : textAt(helper().hutch_ext4_error(this.#handle)),
    );
  }
}

/** `struct hutch_ext4_options`. */
function packOptions(uuidFrom: string, limits: ImageLimits): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(40);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, limitOf("maxBytes", limits.maxBytes), true);
  view.setBigUint64(8, limitOf("maxEntries", limits.maxEntries), true);
  view.setBigUint64(16, limitOf("maxMemory", limits.maxMemory), true);
  const uuid = createHash("sha256").update(uuidFrom).digest().subarray(0, 16);
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | 0x80; // version 8: made by a rule of one's own
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  bytes.set(uuid, 24);
  return bytes;
}

/** Whether a limit may have this value. */
export function isLimit(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}

function limitOf(name: string, value: number | undefined): bigint {
  if (value === undefined) return 0n;
  if (isLimit(value)) return BigInt(value);
  throw new HutchError("invalid_option", `Cannot use ${name} ${value}: it is no positive integer`);
}
