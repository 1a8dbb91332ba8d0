/**
 * Copies of files and trees on the host, as tar streams.
 *
 * @module
 */
import { HutchError } from "../src/errors.ts";
import { type Helper, helper } from "./library.ts";
import { OutPointer } from "./memory.ts";
import { cString, errnoName } from "./result.ts";

/** What a copy is to do, as `ffi/copy/copy.h` has it; the agent's programs take the same. */
const FLAGS = {
  overwrite: 1 << 0,
  parents: 1 << 1,
  into: 1 << 2,
  intoOld: 1 << 3,
  archive: 1 << 4,
  guarded: 1 << 5,
  ask: 1 << 6,
  modes: 1 << 7,
  times: 1 << 8,
  follow: 1 << 9,
  noLinks: 1 << 10,
  owners: 1 << 16,
} as const;

/** A flag's name. */
export type CopyFlag = keyof typeof FLAGS;

/** Flags by name, as one number. */
export function copyFlags(flags: Readonly<Partial<Record<CopyFlag, boolean>>>): number {
  let sum = 0;
  for (const [name, bit] of Object.entries(FLAGS)) {
    if (Object.entries(flags).some(([key, set]) => key === name && set)) sum |= bit;
  }
  return sum;
}

/** Whom files belong to on the other side; `map` has ids from `from` on become those from `to` on. */
export type CopyOwner =
  | "none"
  | "keep"
  | { readonly uid: number; readonly gid: number }
  | readonly { readonly from: number; readonly to: number; readonly count: number }[];

/** An entry that a filter is asked about. */
export interface TreeEntry {
  /** Below the tree's top; what isn't UTF-8 in it is replaced. */
  readonly path: string;
  readonly kind: "file" | "folder" | "symlink" | "other";
  /** In bytes; 0 of what isn't a file. */
  readonly size: number;
}

/** Options of {@link HostCopy}. */
export interface HostCopyOptions {
  readonly flags: Readonly<Partial<Record<CopyFlag, boolean>>>;
  readonly owner?: CopyOwner;
  /** Limits of what is unpacked; 0 for none. @default {0} */
  readonly maxBytes?: number;
  readonly maxEntries?: number;
  /** Says which entries below the top are wanted; of a folder, with all that is in it. */
  readonly filter?: ((entry: TreeEntry) => boolean | Promise<boolean>) | undefined;
}

/** What a copy failed at. */
export class CopyFailure extends Error {
  override readonly name = "CopyFailure";
  /** Such as `ENOSPC`. */
  readonly code: string;
  /** What it is about; odd bytes as `\xNN`, empty where it is about no path. */
  readonly path: string;

  /** Makes one. */
  constructor(code: string, message: string, path: string) {
    super(message);
    this.code = code;
    this.path = path;
  }

  /** Reads the line that `copy_failure_line` writes; undefined when it isn't one. */
  static read(line: string): CopyFailure | undefined {
    const [, code, text = "", path = ""] = /^E (\d{1,5}) ([ -~]{1,127})\t([ -~]*)$/.exec(line) ??
      [];
    return code === undefined ? undefined : new CopyFailure(errnoName(-Number(code)), text, path);
  }
}

const MAX_PATH = 4096;
const MAX_LINE = 5 * MAX_PATH;
const KINDS: Readonly<Record<string, TreeEntry["kind"]>> = {
  "0": "file",
  "1": "file",
  "2": "symlink",
  "5": "folder",
};

/** One tree that is being read into a tar, or written from one. */
export class HostCopy implements Disposable {
  readonly #options: HostCopyOptions;
  readonly #path = new Uint8Array(MAX_PATH);
  #handle: Deno.PointerValue;
  #busy: Promise<unknown> | undefined;

  private constructor(handle: Deno.PointerValue, options: HostCopyOptions) {
    this.#handle = handle;
    this.#options = options;
  }

  /** Reads a tree; `name` is its top's in the tar. It is looked at when it is read. */
  static pack(source: string, name: string, options: HostCopyOptions): HostCopy {
    return HostCopy.#make(1, source, name, options);
  }

  /** Writes a tree; `name` is what it is called within another folder. */
  static unpack(destination: string, name: string, options: HostCopyOptions): HostCopy {
    return HostCopy.#make(0, destination, name, options);
  }

  static #make(packs: 0 | 1, path: string, name: string, options: HostCopyOptions): HostCopy {
    const out = new OutPointer();
    const packed = packOptions(options);
    const result = helper().hutch_copy_open(packs, cString(path), cString(name), packed, out.room);
    if (result === 0) return new HostCopy(out.value, options);
    throw new HutchError("limit_exceeded", `Cannot copy ${path}: there is no memory for it`);
  }

  /** What came so far: entries, bytes of files, sockets left out; and where it is. */
  get progress(): { path: string; entries: number; bytes: number; skipped: number } {
    const counts = new BigUint64Array(3);
    helper().hutch_copy_progress(this.#open(), counts, this.#path);
    const [entries = 0, bytes = 0, skipped = 0] = Array.from(counts, Number);
    return { path: relative(this.#path), entries, bytes, skipped };
  }

  /**
   * The tar's next bytes, as many as there is room for in `piece`, whose they are; undefined at its end.
   *
   * @throws CopyFailure
   */
  async read(piece: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (let at = 0;;) {
      const got = await this.#call((handle, c) =>
        c.hutch_copy_read(handle, piece.subarray(at), BigInt(piece.length - at))
      );
      at += got;
      if (await this.#answer() && at < piece.length) continue;
      return at === 0 ? undefined : piece.subarray(0, at);
    }
  }

  /**
   * Takes the tar's next bytes.
   *
   * @throws CopyFailure
   */
  async push(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    for (let at = 0, again = true; again || at < bytes.length;) {
      at += await this.#call((handle, c) =>
        c.hutch_copy_push(handle, bytes.subarray(at), BigInt(bytes.length - at))
      );
      again = await this.#answer();
    }
  }

  /**
   * All came.
   *
   * @throws CopyFailure also when something is missing.
   */
  async finish(): Promise<void> {
    await this.#call((handle, c) => Promise.resolve(BigInt(c.hutch_copy_finish(handle))));
  }

  /**
   * Lets go of everything, once a call that still runs has ended; what was written in part is taken
   * away. Idempotent.
   */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    const close = () => helper().hutch_copy_close(handle);
    if (this.#busy) this.#busy.then(close, close);
    else close();
  }

  async #call(
    run: (handle: Deno.PointerValue, c: Helper) => Promise<bigint | void>,
  ): Promise<number> {
    const handle = this.#open();
    if (this.#busy) throw new TypeError("a copy that is at work already");
    const running = run(handle, helper());
    this.#busy = running;
    try {
      const result = Number(await running ?? 0n);
      if (result < 0) throw this.#failure(result);
      return result;
    } finally {
      this.#busy = undefined;
    }
  }

  #open(): Deno.PointerValue {
    if (this.#handle === null) throw new TypeError("a copy that is closed");
    return this.#handle;
  }

  /** Asks the filter about an entry, if one waits for it. */
  async #answer(): Promise<boolean> {
    const { filter } = this.#options;
    const size = new BigUint64Array(1);
    const type = helper().hutch_copy_asks(this.#open(), this.#path, size);
    if (type === 0) return false;
    const entry = {
      path: relative(this.#path),
      kind: KINDS[String.fromCharCode(type)] ?? "other",
      size: Number(size[0] ?? 0n),
    };
    const take = filter === undefined || await filter(entry);
    await this.#call((handle, c) => c.hutch_copy_answer(handle, take ? 1 : 0));
    return true;
  }

  #failure(result: number): Error {
    const line = new Uint8Array(MAX_LINE);
    const length = Number(helper().hutch_copy_error(this.#open(), line, BigInt(line.length)));
    const text = new TextDecoder().decode(line.subarray(0, length)).replace(/\n$/, "");
    return CopyFailure.read(text) ?? new CopyFailure(errnoName(result), "it failed", "");
  }
}

/** The text of a C string, without the `./` that names below a tree's top begin with. */
function relative(path: Uint8Array): string {
  const text = new TextDecoder().decode(path.subarray(0, path.indexOf(0)));
  return text.startsWith("./") ? text.slice(2) : text;
}

/** `struct hutch_copy_options`, and the ranges behind it. */
function packOptions(options: HostCopyOptions): Uint8Array<ArrayBuffer> {
  const { owner = "none", maxBytes = 0, maxEntries = 0, flags, filter } = options;
  const ranges = typeof owner === "object" && !("uid" in owner) ? owner : [];
  const fixed = typeof owner === "object" && "uid" in owner ? owner : undefined;
  const kind = owner === "none" ? 0 : owner === "keep" ? 1 : fixed ? 2 : 3;
  const view = new DataView(new ArrayBuffer(40 + 12 * ranges.length));
  view.setUint32(0, copyFlags({ ...flags, ask: filter !== undefined }), true);
  view.setUint32(4, kind, true);
  view.setUint32(8, fixed?.uid ?? 0, true);
  view.setUint32(12, fixed?.gid ?? 0, true);
  view.setBigUint64(16, BigInt(maxBytes), true);
  view.setBigUint64(24, BigInt(maxEntries), true);
  view.setUint32(32, ranges.length, true);
  for (const [index, { to, from, count }] of ranges.entries()) {
    view.setUint32(40 + 12 * index, to, true);
    view.setUint32(44 + 12 * index, from, true);
    view.setUint32(48 + 12 * index, count, true);
  }
  return new Uint8Array(view.buffer);
}
