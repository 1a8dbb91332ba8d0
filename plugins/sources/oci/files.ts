/**
 * The files of an image layout, in a folder or in an archive, read without being led out of it.
 *
 * @module
 */
import { join } from "node:path";
import { errorText, HutchError } from "../../../mod.ts";
import { ArchiveFile } from "../archive/file.ts";
import { type TarFile, TarIndex } from "../archive/tar_index.ts";

const PIECE = 256 * 1024;

/** Files by their paths in the layout. */
export interface LayoutFiles extends Disposable {
  /** How errors call the whole. */
  readonly name: string;
  /** Whether something has this path. */
  has(path: string): Promise<boolean>;
  /** A small file's bytes. Throws `invalid_image`, when it isn't there too. */
  read(path: string, limit: number): Promise<Uint8Array<ArrayBuffer>>;
  /** A file's bytes from `offset` on. Throws `invalid_image`, when it isn't there too. */
  stream(path: string, offset: number): Promise<ReadableStream<Uint8Array<ArrayBuffer>>>;
}

/**
 * Opens a layout's folder or archive.
 *
 * @param path Absolute.
 * @throws {HutchError} `image_not_found`, and what reading an archive throws
 */
export async function openLayoutFiles(path: string, signal: AbortSignal): Promise<LayoutFiles> {
  let root: string | undefined;
  try {
    if ((await Deno.stat(path)).isDirectory) root = await Deno.realPath(path);
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory;
    const why = missing ? "it isn't there" : errorText(error);
    throw new HutchError("image_not_found", `Cannot read image folder ${path}: ${why}`, {
      cause: error,
    });
  }
  if (root !== undefined) return new FolderFiles(path, root);
  const archive = await ArchiveFile.open(path, signal);
  try {
    return new TarFiles(archive, await TarIndex.read(archive, signal));
  } catch (error) {
    archive[Symbol.dispose]();
    throw error;
  }
}

/** A folder. Its files are read only where they really are inside of it. */
class FolderFiles implements LayoutFiles {
  readonly name: string;
  readonly #root: string;

  constructor(path: string, root: string) {
    this.name = `image folder ${path}`;
    this.#root = root;
  }

  async has(path: string): Promise<boolean> {
    try {
      await Deno.lstat(join(this.#root, path));
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  async read(path: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    using file = await this.#open(path);
    const { size } = await file.stat();
    if (size > limit) throw this.#invalid(`its ${path} is larger than ${limit} bytes`);
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const count = await file.read(bytes.subarray(at));
      if (count === null) throw this.#invalid(`its ${path} was cut short meanwhile`);
      at += count;
    }
    return bytes;
  }

  async stream(path: string, offset: number): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const file = await this.#open(path);
    try {
      await file.seek(offset, Deno.SeekMode.Start);
    } catch (error) {
      file.close();
      throw error;
    }
    return piecesOf(file);
  }

  [Symbol.dispose](): void {}

  /**
   * Opens a regular file. A link that leads out of the layout would make other files of this
   * machine part of an image, and a named pipe would make us wait for ever.
   */
  async #open(path: string): Promise<Deno.FsFile> {
    try {
      const real = await Deno.realPath(join(this.#root, path));
      if (!real.startsWith(this.#root === "/" ? "/" : `${this.#root}/`)) {
        throw this.#invalid(`its ${path} is a link that leads out of it`);
      }
      if (!(await Deno.lstat(real)).isFile) throw this.#invalid(`its ${path} isn't a file`);
      return await Deno.open(real);
    } catch (error) {
      if (error instanceof HutchError) throw error;
      const why = error instanceof Deno.errors.NotFound ? "isn't there" : errorText(error);
      throw this.#invalid(`its ${path} ${why}`, error);
    }
  }

  #invalid(problem: string, cause?: unknown): HutchError {
    return new HutchError("invalid_image", `Cannot read ${this.name}: ${problem}`, { cause });
  }
}

/** An archive, open until disposed. */
class TarFiles implements LayoutFiles {
  readonly name: string;
  readonly #archive: ArchiveFile;
  readonly #index: TarIndex;

  constructor(archive: ArchiveFile, index: TarIndex) {
    this.name = archive.name;
    this.#archive = archive;
    this.#index = index;
  }

  has(path: string): Promise<boolean> {
    return Promise.resolve(this.#index.has(path));
  }

  async read(path: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    const { offset, size } = this.#find(path);
    if (size > limit) throw this.#archive.invalid(`its ${path} is larger than ${limit} bytes`);
    return await this.#archive.read(offset, size);
  }

  // deno-lint-ignore require-await -- so that what it throws is always a rejection
  async stream(path: string, from: number): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    const { offset, size } = this.#find(path);
    const start = Math.min(from, size);
    return this.#archive.stream(offset + start, size - start);
  }

  [Symbol.dispose](): void {
    this.#archive[Symbol.dispose]();
  }

  #find(path: string): TarFile {
    const found = this.#index.find(path);
    if (found) return found;
    throw this.#archive.invalid(`its ${path} isn't there`);
  }
}

/** The rest of a file in large pieces; closes it at the end, on error and when cancelled. */
function piecesOf(file: Deno.FsFile): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const piece = new Uint8Array(PIECE);
      let count: number | null;
      try {
        count = await file.read(piece);
      } catch (error) {
        file.close();
        throw error;
      }
      if (count !== null) return controller.enqueue(piece.subarray(0, count));
      file.close();
      controller.close();
    },
    cancel: () => file.close(),
  }, { highWaterMark: 0 });
}
