/**
 * An open file of a box, in the shape of `Deno.FsFile`.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { type FileHandle, Reader, Writer } from "./handle.ts";
import { type BoxFileInfo, readInfo } from "./info.ts";
import { checkLength } from "./numbers.ts";
import { utimeFields } from "./times.ts";
import { Flag } from "./wire.ts";

/**
 * A file that `box.fs.open` opened. It is `Deno.FsFile` but for what can't be done at once:
 * {@link BoxFile.close} gives a promise, and it is disposed of by `await using`. Reads and writes that
 * are asked for at the same time happen one after the other, each where the one before ended.
 *
 * @example Reading the end of a file
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * await using file = await box.fs.open("/etc/passwd");
 * await file.seek(-16, Deno.SeekMode.End);
 * const buffer = new Uint8Array(16);
 * console.log(await file.read(buffer)); // 16
 * ```
 */
export class BoxFile implements AsyncDisposable {
  readonly #handle: FileHandle;
  readonly #appends: boolean;
  #position = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;

  /** For `BoxFiles.open`. */
  constructor(handle: FileHandle, appends: boolean) {
    this.#handle = handle;
    this.#appends = appends;
  }

  /** From where the file stands to its end; the file is closed then, and when this is cancelled. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    let reader: Reader | undefined;
    this.#readable ??= new ReadableStream({
      pull: (controller) =>
        this.#inTurn(async () => {
          reader ??= new Reader(this.#handle, this.#position);
          const bytes = await reader.next();
          if (bytes) {
            this.#position += bytes.length;
            return controller.enqueue(bytes);
          }
          await this.close();
          controller.close();
        }),
      cancel: () => this.close(),
    }, { highWaterMark: 0 });
    return this.#readable;
  }

  /** Writes where the file stands; closing or aborting it closes the file. */
  get writable(): WritableStream<Uint8Array> {
    let writer: Writer | undefined;
    this.#writable ??= new WritableStream({
      write: (chunk) =>
        this.#inTurn(async () => {
          writer ??= new Writer(this.#handle, this.#from());
          await writer.add(chunk.slice()); // it may be used again before it is written
          this.#position = writer.at ?? this.#position;
        }),
      close: () =>
        this.#inTurn(async () => {
          try {
            await writer?.end();
          } finally {
            await this.close();
          }
        }),
      abort: () => this.close(),
    });
    return this.#writable;
  }

  /** Reads at most as many bytes as `buffer` has; gives how many, or null at the file's end. */
  read(buffer: Uint8Array): Promise<number | null> {
    if (buffer.length === 0) return Promise.resolve(0);
    return this.#inTurn(async () => {
      const at = this.#handle.seekable ? this.#position : undefined;
      const bytes = await this.#handle.read(buffer.length, at);
      buffer.set(bytes);
      this.#position += bytes.length;
      return bytes.length === 0 ? null : bytes.length;
    });
  }

  /** Writes all of `bytes`, and gives how many that were. */
  write(bytes: Uint8Array): Promise<number> {
    return this.#inTurn(async () => {
      const writer = new Writer(this.#handle, this.#from());
      await writer.add(bytes);
      await writer.end();
      this.#position = writer.at ?? this.#position;
      return bytes.length;
    });
  }

  /** Where the next read or write is; gives the new position in bytes. */
  seek(offset: number | bigint, whence: Deno.SeekMode): Promise<number> {
    return this.#inTurn(async () => {
      const from = whence === Deno.SeekMode.Start
        ? 0
        : whence === Deno.SeekMode.Current
        ? this.#position
        : (await this.stat()).size;
      const position = from + Number(offset);
      if (!this.#handle.seekable || !Number.isSafeInteger(position) || position < 0) {
        throw new HutchError(
          "invalid_option",
          `Cannot go to byte ${position} of the file: ${
            this.#handle.seekable ? "it isn't from 0 to 2^53" : "it has no positions"
          }`,
        );
      }
      return this.#position = position;
    });
  }

  /** Makes the file so long, with zeros where it grows. @param length In bytes. @default {0} */
  async truncate(length = 0): Promise<void> {
    await this.#inTurn(() => this.#handle.ask("truncate", { length: checkLength(length) }));
  }

  /** Waits until bytes and attributes are on the box's disk. */
  async sync(): Promise<void> {
    await this.#inTurn(() => this.#handle.ask("sync", { flags: 0 }));
  }

  /** Waits until the bytes are on the box's disk. */
  async syncData(): Promise<void> {
    await this.#inTurn(() => this.#handle.ask("sync", { flags: Flag.DATA_ONLY }));
  }

  /** What the file is now. */
  async stat(): Promise<BoxFileInfo> {
    return readInfo(await this.#handle.ask("stat", { flags: 0 }));
  }

  /** Sets its times; numbers are seconds since 1970. */
  async utime(atime: number | Date, mtime: number | Date): Promise<void> {
    await this.#handle.ask("utime", { flags: 0, ...utimeFields(atime, mtime) });
  }

  /** Closes it; rejects where the box couldn't keep what was written. Idempotent. */
  close(): Promise<void> {
    return this.#handle.close();
  }

  /** {@link BoxFile.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Where writing goes on; undefined where the guest alone knows. */
  #from(): number | undefined {
    return this.#handle.seekable && !this.#appends ? this.#position : undefined;
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(run);
    this.#turn = turn.catch(() => {});
    return turn;
  }
}
