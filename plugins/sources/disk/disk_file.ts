/**
 * A disk's file, read at any place, and watched for changes.
 *
 * @module
 */
import { errorText, HutchError } from "../../../mod.ts";

/** An open file; its reads take turns. */
export class DiskFile implements Disposable {
  /** How errors call it. */
  readonly name: string;
  /** Its length when it was opened, in bytes. */
  readonly length: number;
  readonly #file: Deno.FsFile;
  readonly #path: string;
  readonly #mtime: number | undefined;
  #turn: Promise<unknown> = Promise.resolve();
  #open = true;

  private constructor(path: string, file: Deno.FsFile, { size, mtime }: Deno.FileInfo) {
    this.name = `disk ${path}`;
    this.#path = path;
    this.#file = file;
    this.length = size;
    this.#mtime = mtime?.getTime();
  }

  /**
   * Opens the file.
   *
   * @throws {HutchError} `image_not_found`
   */
  static async open(path: string): Promise<DiskFile> {
    try {
      // Opening a named pipe would wait for somebody to write to it.
      if (!(await Deno.stat(path)).isFile) throw new Error("it isn't a file");
      const file = await Deno.open(path);
      try {
        return new DiskFile(path, file, await file.stat());
      } catch (error) {
        file.close();
        throw error;
      }
    } catch (error) {
      const why = error instanceof Deno.errors.NotFound
        ? "there is no such file"
        : errorText(error);
      throw new HutchError("image_not_found", `Cannot open disk ${path}: ${why}`, { cause: error });
    }
  }

  /** Fills all of `into`; behind the file's end there are zeros. */
  async read(offset: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    const mine = this.#turn.then(() => this.#read(offset, into));
    this.#turn = mine.catch(() => {});
    await mine;
  }

  /**
   * Looks whether the file is still as it was, and at its place.
   *
   * @throws {HutchError} `invalid_image`
   */
  async check(): Promise<void> {
    const mine = this.#turn.then(() => this.#file.stat());
    this.#turn = mine.catch(() => {});
    const { size, mtime, dev, ino } = await mine;
    const now = await Deno.stat(this.#path).catch(() => undefined);
    const same = size === this.length && mtime?.getTime() === this.#mtime && now?.dev === dev &&
      now.ino === ino;
    if (!same) throw this.#changed();
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    void this.#turn.then(() => this.#file.close());
  }

  async #read(offset: number, into: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#file.seek(offset, Deno.SeekMode.Start);
    const wanted = Math.min(into.length, Math.max(0, this.length - offset));
    for (let at = 0; at < wanted;) {
      const count = await this.#file.read(into.subarray(at, wanted));
      if (count === null) throw this.#changed();
      at += count;
    }
    into.fill(0, wanted);
  }

  #changed(): HutchError {
    return new HutchError("invalid_image", `Cannot read ${this.name}: it changed meanwhile`, {
      hint: "read it while nobody writes to it",
    });
  }
}
