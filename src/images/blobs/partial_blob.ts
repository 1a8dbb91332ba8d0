/**
 * One blob while it is being fetched: a file and the running hash of what is in it.
 *
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { HutchError } from "../../errors.ts";
import { cancelled } from "../wait.ts";

/** Writes are gathered to this size: each one costs a trip to another thread. */
const BUFFER = 1024 * 1024;

/** A growing file whose hash is always known; closes the file when disposed. */
export class PartialBlob implements Disposable {
  readonly #file: Deno.FsFile;
  readonly #buffer = new Uint8Array(BUFFER);
  #buffered = 0;
  #written = 0;
  #furthest = 0;
  #hash: Hash = createHash("sha256");
  #closed = false;
  #patched = false;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Opens the file, made if it isn't there, to be read by {@link rehash} first. */
  static async open(path: string): Promise<PartialBlob> {
    return new PartialBlob(
      await Deno.open(path, { read: true, write: true, create: true, mode: 0o600 }),
    );
  }

  /**
   * Opens a file that is there, to be read by {@link rehash} alone.
   *
   * @throws Deno.errors.NotFound
   */
  static async openFinished(path: string): Promise<PartialBlob> {
    return new PartialBlob(await Deno.open(path));
  }

  /** Bytes taken so far. */
  get size(): number {
    return this.#written + this.#buffered;
  }

  /** The largest {@link size} there was. */
  get furthest(): number {
    return this.#furthest;
  }

  /**
   * Whether the bytes came in more than one answer, some of them perhaps in an earlier program's: then
   * one wrong answer may have spoiled what others got right.
   */
  get patched(): boolean {
    return this.#patched;
  }

  /** Hashes what an earlier program left; more than `limit` bytes of it are thrown away, all. */
  async rehash(
    limit: number,
    onProgress: (bytes: number) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    for (;;) {
      if (signal?.aborted) throw cancelled("get a blob", signal);
      const count = await this.#file.read(this.#buffer);
      if (count === null) break;
      this.#hash.update(this.#buffer.subarray(0, count));
      this.#written += count;
      if (this.#written > limit) return await this.#empty();
      this.#patched = true;
      onProgress(this.#written);
    }
    this.#furthest = this.#written;
  }

  /**
   * Adds a stream that begins at byte `start` of the blob: at the end, or before it, when
   * everything starts over. Returns the stream's error if it broke; throws all others.
   *
   * @throws {HutchError} `digest_mismatch` when it gives more than `limit` bytes; `cancelled`;
   * `registry_failed` when it begins in the wrong place.
   */
  async append(
    start: number,
    body: ReadableStream<Uint8Array<ArrayBuffer>>,
    limit: number,
    options: { readonly signal: AbortSignal; readonly onProgress?: (bytes: number) => void },
  ): Promise<unknown> {
    const reader = body.getReader();
    // A source that doesn't notice the abort must not keep us: this ends a pending read.
    const onAbort = () => void reader.cancel().catch(() => {});
    options.signal.addEventListener("abort", onAbort, { once: true });
    try {
      if (start === 0) await this.#empty();
      else if (start !== this.size) {
        throw new HutchError("registry_failed", `Cannot get a blob: it goes on at byte ${start}`);
      } else this.#patched = true;
      for (;;) {
        const next = await readOrError(reader);
        if (options.signal.aborted) throw cancelled("get a blob", options.signal);
        if ("error" in next) return next.error;
        if (next.chunk === undefined) return undefined;
        if (this.size + next.chunk.length > limit) {
          throw new HutchError(
            "digest_mismatch",
            `Cannot get a blob: it is larger than the ${limit} bytes that its manifest says`,
          );
        }
        await this.#take(next.chunk);
        options.onProgress?.(this.size);
      }
    } finally {
      options.signal.removeEventListener("abort", onAbort);
      // Ends the download when we stopped early; of a stream that broke, the error is known.
      await reader.cancel().catch(() => {});
      await this.#flush();
    }
  }

  /** The digest of all bytes so far; the blob can't grow after this, but start over. */
  digest(): string {
    return `sha256:${this.#hash.digest("hex")}`;
  }

  /** Throws away all bytes, and forgets that there were any. */
  async restart(): Promise<void> {
    await this.#empty();
    this.#furthest = 0;
  }

  /** Whether nothing is in the file, read or not. */
  async isEmpty(): Promise<boolean> {
    return (await this.#file.stat()).size === 0;
  }

  /** Brings everything to the disk. */
  async sync(): Promise<void> {
    await this.#flush();
    await this.#file.sync();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#file.close();
  }

  async #take(chunk: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#hash.update(chunk);
    for (let from = 0; from < chunk.length;) {
      const part = chunk.subarray(from, from + BUFFER - this.#buffered);
      this.#buffer.set(part, this.#buffered);
      this.#buffered += part.length;
      from += part.length;
      if (this.#buffered === BUFFER) await this.#flush();
    }
    this.#furthest = Math.max(this.#furthest, this.size);
  }

  async #flush(): Promise<void> {
    const bytes = this.#buffer.subarray(0, this.#buffered);
    for (let from = 0; from < bytes.length;) {
      from += await this.#file.write(bytes.subarray(from));
    }
    this.#written += bytes.length;
    this.#buffered = 0;
  }

  async #empty(): Promise<void> {
    this.#hash = createHash("sha256");
    this.#patched = false;
    if (this.size === 0) return;
    await this.#file.truncate(0);
    await this.#file.seek(0, Deno.SeekMode.Start);
    this.#written = 0;
    this.#buffered = 0;
  }
}

type Next = { chunk: Uint8Array<ArrayBuffer> | undefined } | { error: unknown };

async function readOrError(
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
): Promise<Next> {
  try {
    const { value, done } = await reader.read();
    return { chunk: done ? undefined : value };
  } catch (error) {
    return { error };
  }
}
