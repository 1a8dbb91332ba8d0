/**
 * Reads a folder as a tar.
 *
 * @module
 */
import { type ErrorCode, HutchError } from "../src/errors.ts";
import { helper } from "./library.ts";
import { OutPointer, textAt } from "./memory.ts";
import { cString, errnoName } from "./result.ts";

/** Ids from `outside` on become those from `inside` on, `count` of them. */
export interface OwnerRange {
  /** First number in the box. */
  readonly inside: number;
  /** First number outside. */
  readonly outside: number;
  /** How many follow each other. */
  readonly count: number;
}

/** Options of {@link FolderTar.open}. */
export interface FolderTarOptions {
  /**
   * Whom files belong to in the tar: as they do here, all to one user and group, or by a map, in
   * which every owner must be. @default {"keep"}
   */
  readonly owner?: "keep" | { readonly uid: number; readonly gid: number } | readonly OwnerRange[];
  /** Entries, at most. @default {5,000,000} */
  readonly maxEntries?: number;
  /** The same folder, read to its end: everything must still be as it was. */
  readonly earlier?: FolderTar;
}

const PIECE = 512 * 1024;
/** What ffi/helper/pack.h says of errors; others are the system's. */
const CODES: ReadonlyMap<string, ErrorCode> = new Map([
  ["EFBIG", "limit_exceeded"],
  ["ENOMEM", "limit_exceeded"],
]);

/** A tar in the pax format: names sorted, so that the same folder gives the same bytes. */
export class FolderTar implements Disposable {
  /** Of the folder. */
  readonly path: string;
  #handle: Deno.PointerValue;
  #busy: Promise<unknown> | undefined;

  private constructor(path: string, handle: Deno.PointerValue) {
    this.path = path;
    this.#handle = handle;
  }

  /**
   * Opens a folder.
   *
   * @throws HutchError `part_missing`, `image_not_found`
   */
  static open(path: string, options: FolderTarOptions = {}): FolderTar {
    const out = new OutPointer();
    const earlier = options.earlier === undefined ? null : options.earlier.#handle;
    const packed = packOptions(options);
    const result = helper().hutch_pack_open(cString(path), packed, earlier, out.room);
    if (result === 0) return new FolderTar(path, out.value);
    const name = errnoName(result);
    const why = name === "ENOENT"
      ? "it isn't there"
      : name === "ENOTDIR"
      ? "it isn't a folder"
      : name;
    throw new HutchError("image_not_found", `Cannot read folder ${path}: ${why}`);
  }

  /**
   * The next bytes, which stay the caller's; undefined at the end.
   *
   * @throws HutchError `invalid_image` when something can't be read, can't be in a layer, or changed
   * meanwhile; `limit_exceeded`
   */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const handle = this.#handle;
    if (handle === null || this.#busy) {
      throw new TypeError("a folder that is closed, or being read");
    }
    const piece = new Uint8Array(PIECE);
    const reading = helper().hutch_pack_read(handle, piece, BigInt(piece.length));
    this.#busy = reading;
    let got: number;
    try {
      got = Number(await reading);
      if (got < 0) throw this.#failure(got, handle);
    } finally {
      this.#busy = undefined;
    }
    return got === 0 ? undefined : piece.subarray(0, got);
  }

  /** What was left out so far: sockets, and the contents of file systems mounted inside. */
  get leftOut(): { readonly sockets: number; readonly mounts: number } {
    if (this.#handle === null) return { sockets: 0, mounts: 0 };
    const count = (what: number) => Number(helper().hutch_pack_left_out(this.#handle, what));
    return { sockets: count(0), mounts: count(1) };
  }

  /** Lets go of everything, once a call that still runs has ended. Idempotent. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    const close = () => helper().hutch_pack_close(handle);
    if (this.#busy) this.#busy.then(close, close);
    else close();
  }

  #failure(result: number, handle: Deno.PointerValue): HutchError {
    const name = errnoName(result);
    const why = textAt(helper().hutch_pack_error(handle));
    return new HutchError(
      CODES.get(name) ?? "invalid_image",
      `Cannot read folder ${this.path}: ${why}`,
      name === "ESTALE"
        ? { hint: "read it while nobody writes to it" }
        : name === "EACCES" || name === "EPERM"
        ? { hint: "run hutch as somebody who may read it" }
        : {},
    );
  }
}

/** `struct hutch_pack_options`, and the ranges behind it. */
function packOptions(
  { owner = "keep", maxEntries = 0 }: FolderTarOptions,
): Uint8Array<ArrayBuffer> {
  const ranges = isRanges(owner) ? owner : [];
  const view = new DataView(new ArrayBuffer(24 + 12 * ranges.length));
  view.setBigUint64(0, BigInt(maxEntries), true);
  view.setUint32(8, ranges.length, true);
  if (owner !== "keep" && !isRanges(owner)) {
    view.setUint32(12, 1, true);
    view.setUint32(16, owner.uid, true);
    view.setUint32(20, owner.gid, true);
  }
  for (const [index, { inside, outside, count }] of ranges.entries()) {
    view.setUint32(24 + 12 * index, inside, true);
    view.setUint32(28 + 12 * index, outside, true);
    view.setUint32(32 + 12 * index, count, true);
  }
  return new Uint8Array(view.buffer);
}

function isRanges(owner: FolderTarOptions["owner"]): owner is readonly OwnerRange[] {
  return Array.isArray(owner);
}
