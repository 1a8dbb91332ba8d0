/**
 * A file that is read in any order by several readers at once: an archive, or its plain bytes when
 * it was compressed or came from somewhere that can't go back.
 *
 * @module
 */
import { join } from "node:path";
import { errorText, HutchError, layerBytes } from "../../../mod.ts";
import { compressionOf, MAGIC_LENGTH } from "./compression.ts";

const PIECE = 256 * 1024;
/** Most plain bytes of a compressed or streamed archive: 64 GiB, as layers may have in all. */
const SPOOL_LIMIT = 64 * 2 ** 30;

/** How {@link ArchiveFile.spool} works. */
export interface SpoolOptions {
  /** How errors call it. */
  readonly name: string;
  readonly signal: AbortSignal;
  /** @default {64 GiB} */
  readonly limit?: number;
}

/** A file, or a folder, is of another kind than the one that was looked for. */
export class OtherKind extends HutchError {}

/** One open file. What it holds is gone when it is disposed, or its program dies. */
export class ArchiveFile implements Disposable {
  /** How errors call it, such as `image archive /a.tar`. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
  readonly #file: Deno.FsFile;
  #closed = false;
  /** The last reader's turn: seeking and reading are two steps. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(name: string, file: Deno.FsFile, size: number) {
    this.name = name;
    this.#file = file;
    this.size = size;
  }

  /**
   * Opens an archive. One that gzip or zstd compressed is unpacked in one pass to a file without a
   * name: archives are read at many places.
   *
   * @param path Absolute.
   * @throws {HutchError} `image_not_found`, `invalid_image`, `limit_exceeded`, `no_space`,
   * `cancelled`
   */
  static async open(path: string, signal: AbortSignal): Promise<ArchiveFile> {
    const name = `image archive ${path}`;
    requireGoing(name, signal);
    const file = new ArchiveFile(name, ...await openPlain(path, name));
    try {
      const compression = compressionOf(await file.read(0, Math.min(MAGIC_LENGTH, file.size)));
      if (compression === "none") return file;
      if (compression === undefined) {
        throw new HutchError("invalid_image", `Cannot read ${name}: it is compressed otherwise`, {
          hint: "unpack it first: hutch reads plain ones, and those of gzip and zstd",
        });
      }
      const spooled = await this.spool(layerBytes({ path, compression }), { name, signal });
      file[Symbol.dispose]();
      return spooled;
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Keeps a stream's bytes in a file without a name, in `TMPDIR`, else `/var/tmp`.
   *
   * @throws {HutchError} `limit_exceeded`, `no_space`, `cancelled`, and what the stream throws
   */
  static async spool(
    pieces: AsyncIterable<Uint8Array>,
    { name, signal, limit = SPOOL_LIMIT }: SpoolOptions,
  ): Promise<ArchiveFile> {
    const folder = Deno.env.get("TMPDIR") || "/var/tmp";
    const file = await openNameless(folder, name);
    try {
      let size = 0;
      for await (const piece of pieces) {
        requireGoing(name, signal);
        size += piece.length;
        if (size > limit) {
          throw new HutchError(
            "limit_exceeded",
            `Cannot read ${name}: it has more than ${limit} plain bytes`,
          );
        }
        await writeAll(file, piece, folder);
      }
      requireGoing(name, signal);
      return new ArchiveFile(name, file, size);
    } catch (error) {
      file.close();
      throw error;
    }
  }

  /**
   * The bytes from `offset` on.
   *
   * @throws {HutchError} `invalid_image` when there are fewer than `length`.
   */
  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length;) {
      const count = await this.#readSome(offset + at, bytes.subarray(at));
      if (count === null) throw this.invalid("it ends early");
      at += count;
    }
    return bytes;
  }

  /** `length` bytes from `offset` on, in pieces. Holds nothing open but this file. */
  stream(offset: number, length: number): ReadableStream<Uint8Array<ArrayBuffer>> {
    let at = offset;
    const end = offset + length;
    return new ReadableStream({
      pull: async (controller) => {
        if (at < end) {
          const piece = await this.read(at, Math.min(PIECE, end - at));
          at += piece.length;
          controller.enqueue(piece);
        }
        if (at >= end) controller.close();
      },
    }, { highWaterMark: 0 });
  }

  /** An error of code `invalid_image` about this file. */
  invalid(problem: string): HutchError {
    return new HutchError("invalid_image", `Cannot read ${this.name}: ${problem}`);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#file.close();
  }

  async #readSome(offset: number, into: Uint8Array): Promise<number | null> {
    const turn = this.#turn.then(() => {
      this.#file.seekSync(offset, Deno.SeekMode.Start); // no disk is asked for that
      return this.#file.read(into);
    });
    this.#turn = turn.catch(() => {}); // its own reader hears of it
    return await turn;
  }
}

async function openPlain(path: string, name: string): Promise<[Deno.FsFile, number]> {
  try {
    // Opening a named pipe would wait for somebody to write to it.
    if (!(await Deno.stat(path)).isFile) throw new Error("it isn't a file");
    const file = await Deno.open(path);
    return [file, (await file.stat()).size];
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "it isn't there" : errorText(error);
    throw new HutchError("image_not_found", `Cannot read ${name}: ${why}`, { cause: error });
  }
}

async function openNameless(folder: string, name: string): Promise<Deno.FsFile> {
  try {
    const path = join(folder, `hutch-${crypto.randomUUID()}`);
    const file = await Deno.open(path, { read: true, write: true, createNew: true, mode: 0o600 });
    try {
      await Deno.remove(path);
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  } catch (error) {
    throw new HutchError(
      "no_space",
      `Cannot read ${name}: no file can be made in ${folder}: ${errorText(error)}`,
      { cause: error, hint: "name a folder that can be written with TMPDIR" },
    );
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array, folder: string): Promise<void> {
  try {
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
  } catch (error) {
    if (!(error instanceof Error && /ENOSPC|EDQUOT/.test(codeOf(error)))) throw error;
    throw new HutchError("no_space", `Cannot unpack an image archive: ${folder} is full`, {
      cause: error,
      hint: "free some room there, or name another folder with TMPDIR",
    });
  }
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : "";
}

function requireGoing(name: string, signal: AbortSignal): void {
  if (!signal.aborted) return;
  throw new HutchError("cancelled", `Cannot read ${name}: it was cancelled`, {
    cause: signal.reason,
  });
}
