/**
 * An open file in the guest: its requests, and fast ways through its bytes.
 *
 * @module
 */
import { noSuchFile } from "./errors.ts";
import { type FilesPort, withReason } from "./port.ts";
import type { FilesSession } from "./session.ts";
import type { BoxPath } from "./paths.ts";
import { broken, type GuestFrame, type HeadValue, MAX_DATA } from "./wire.ts";

/** Requests on their way at once where a file is read or written from one end to the other. */
const DEPTH = 4;
const MAX_HANDLE = 0xffffffff;

/** What {@link FileHandle.open} and {@link load} are asked for. */
export interface HandleOptions {
  readonly path: BoxPath;
  /** What it is for, to follow "Cannot". */
  readonly verb: string;
  /** The request's other fields, `op` among them. */
  readonly head: Readonly<Record<string, HeadValue>>;
  readonly signal?: AbortSignal | undefined;
}

/** The first bytes of something, and what the rest is to be had from. */
export interface Loaded {
  readonly data: Uint8Array<ArrayBuffer>;
  /** Undefined if that was all. */
  readonly handle: FileHandle | undefined;
}

/** A request that opens something in the guest, unless it is done at once; throws Deno's errors. */
export async function load(
  port: FilesPort,
  { path, verb, head, signal }: HandleOptions,
): Promise<Loaded> {
  const what = port.what(verb, path);
  const bytes = port.path(path);
  if (bytes.length === 0) throw noSuchFile(what);
  const sent = port.send({ path: bytes, ...head }, { signal, late: closeLate });
  const { session, reply } = await withReason(what, sent);
  const handle = reply.has("handle") ? new FileHandle(session, reply, what) : undefined;
  return { data: reply.data, handle };
}

/** What was opened for nobody any more. */
function closeLate(reply: GuestFrame, session: FilesSession): void {
  if (!reply.has("handle")) return;
  const handle = reply.number("handle", 0, MAX_HANDLE);
  session.request({ op: "close", handle }).catch(() => {}); // it goes with the process
}

/** An open file; lives as long as its process does. */
export class FileHandle implements Disposable {
  readonly #session: FilesSession;
  readonly #number: number;
  readonly #what: string;
  #closed = false;
  /** Whether positions in it mean anything. */
  readonly seekable: boolean;
  /** Its size in bytes when it was opened. */
  readonly size: number;

  /** Of the reply to what opened it; `what` follows "Cannot". */
  constructor(session: FilesSession, reply: GuestFrame, what: string) {
    this.#session = session;
    this.#number = reply.number("handle", 0, MAX_HANDLE);
    this.seekable = reply.boolean("seekable");
    this.size = reply.number("size");
    this.#what = what;
    session.retain();
  }

  /** Opens a file; throws Deno's errors. @param options `flags` and `mode` are those of `open`. */
  static async open(
    port: FilesPort,
    { flags, mode = 0o666, ...options }: Omit<HandleOptions, "head"> & {
      /** Bits of {@link Flag}. */
      readonly flags: number;
      /** Permissions of a file that is made. @default {0o666} */
      readonly mode?: number | undefined;
    },
  ): Promise<FileHandle> {
    const { handle } = await load(port, { ...options, head: { op: "open", flags, mode } });
    if (!handle) throw broken("it opens a file without a handle");
    return handle;
  }

  /** One request on it; throws Deno's errors. */
  async ask(
    op: string,
    head: Readonly<Record<string, HeadValue>> = {},
    { data, signal }: { readonly data?: Uint8Array; readonly signal?: AbortSignal | undefined } =
      {},
  ): Promise<GuestFrame> {
    if (this.#closed) {
      throw new Deno.errors.BadResource(`Cannot go on to ${this.#what}: the file was closed`);
    }
    const request = { op, handle: this.#number, ...head };
    const options = { ...(data ? { data } : {}), signal };
    return await withReason(this.#what, this.#session.request(request, options));
  }

  /** At most `length` bytes at `at`, or where the file stands; none at its end. */
  async read(
    length: number,
    at?: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const asked = Math.min(length, MAX_DATA);
    const where = offsetOf(at);
    const { data } = await this.ask("read", { length: asked, ...where }, { signal });
    if (data.length > asked) throw broken(`it reads ${data.length} bytes for ${asked}`);
    return data;
  }

  /** Writes all of at most {@link MAX_DATA} bytes at `at`, or where the file stands. */
  async write(bytes: Uint8Array, at?: number, signal?: AbortSignal): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const where = offsetOf(at === undefined ? undefined : at + done);
      const data = bytes.subarray(done);
      const reply = await this.ask("write", where, { data, signal });
      done += reply.number("written", 1, data.length);
    }
  }

  /** Closes it; rejects where the guest says that what was written is lost. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const closing = this.ask("close");
    this.#closed = true;
    try {
      await closing;
    } finally {
      this.#session.release();
    }
  }

  /** Closes a file that was only read: there is nothing to wait for. */
  [Symbol.dispose](): void {
    this.close().catch(() => {});
  }
}

/** Reads a file to its end, some requests ahead where that is possible. */
export class Reader {
  readonly #file: FileHandle;
  readonly #signal: AbortSignal | undefined;
  readonly #ahead: { readonly at: number; readonly bytes: Promise<Uint8Array<ArrayBuffer>> }[] = [];
  #next: number;
  #depth: number;

  /** Begins at `from`. */
  constructor(file: FileHandle, from: number, signal?: AbortSignal) {
    this.#file = file;
    this.#next = from;
    this.#signal = signal;
    this.#depth = file.seekable ? DEPTH : 1;
  }

  /** The next bytes; undefined at the end. */
  async next(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    this.#fill();
    const first = this.#ahead.shift();
    if (!first) return undefined;
    const bytes = await first.bytes;
    const end = first.at + bytes.length;
    if (bytes.length < MAX_DATA && this.#ahead.length > 0) {
      this.#ahead.length = 0; // what follows was read at the wrong place
      this.#depth = 1;
    }
    if (this.#ahead.length === 0) this.#next = end;
    return bytes.length === 0 ? undefined : bytes;
  }

  #fill(): void {
    do {
      const at = this.#next;
      const bytes = this.#file.read(MAX_DATA, this.#file.seekable ? at : undefined, this.#signal);
      bytes.catch(() => {}); // whoever asks for it is told
      this.#ahead.push({ at, bytes });
      this.#next += MAX_DATA;
    } while (this.#ahead.length < this.#depth && this.#next < this.#file.size);
  }
}

/** Writes a file from one end to the other, some requests ahead where that is possible. */
export class Writer {
  readonly #file: FileHandle;
  readonly #signal: AbortSignal | undefined;
  readonly #depth: number;
  readonly #under: Set<Promise<void>> = new Set();
  #at: number | undefined;
  #failure: { readonly error: unknown } | undefined;

  /** Begins at `from`; undefined: each piece follows the one before, as the guest has it. */
  constructor(file: FileHandle, from: number | undefined, signal?: AbortSignal) {
    this.#file = file;
    this.#signal = signal;
    this.#at = from;
    this.#depth = from === undefined ? 1 : DEPTH;
  }

  /** Where it stands. */
  get at(): number | undefined {
    return this.#at;
  }

  /** Takes bytes, which mustn't change until {@link Writer.end}; rejects once one piece failed. */
  async add(bytes: Uint8Array): Promise<void> {
    for (let from = 0; from < bytes.length; from += MAX_DATA) {
      while (this.#under.size >= this.#depth) await Promise.race(this.#under);
      this.#check();
      const piece = bytes.subarray(from, from + MAX_DATA);
      const writing: Promise<void> = this.#file.write(piece, this.#at, this.#signal)
        .catch((error: unknown) => void (this.#failure ??= { error }))
        .finally(() => this.#under.delete(writing));
      this.#under.add(writing);
      if (this.#at !== undefined) this.#at += piece.length;
    }
  }

  /** Waits for what is under way. */
  async end(): Promise<void> {
    await Promise.all(this.#under);
    this.#check();
  }

  #check(): void {
    if (this.#failure) throw this.#failure.error;
  }
}

function offsetOf(at: number | undefined): Record<string, HeadValue> {
  return at === undefined ? {} : { offset: at };
}
