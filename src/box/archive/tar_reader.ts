/**
 * Reads the files of an archive in their order. Nothing of them is written anywhere by its name.
 *
 * @module
 */
import { createHash, type Hash } from "node:crypto";
import { badArchive } from "./format.ts";

const BLOCK = 512;
const NAME = /^[A-Za-z0-9._/-]{1,100}$/;
/** Behind the tar's end, as some tools fill their last record. */
const TAIL_LIMIT = 1024 * 1024;

/** A file of the archive. */
export interface ArchiveFile {
  /** Its name, unchecked but for its characters. */
  readonly name: string;
  /** In bytes. */
  readonly size: number;
}

/** A tar of plain files that is read once, from its beginning. */
export class TarReader implements AsyncDisposable {
  readonly #source: AsyncIterator<Uint8Array<ArrayBuffer>>;
  readonly #hash: Hash = createHash("sha256");
  #chunk = new Uint8Array(0);
  #at = 0;
  #left = 0;
  #padding = 0;
  #before = this.#hash;

  /** Reads nothing yet. */
  constructor(source: AsyncIterable<Uint8Array<ArrayBuffer>>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** SHA-256 of all that came before the present file, in hexadecimal. */
  sha256Before(): string {
    return this.#before.copy().digest("hex");
  }

  /**
   * The next file, which must be this one; what is left of the one before is passed over.
   *
   * @param largest In bytes.
   * @throws {HutchError} `invalid_archive`
   */
  async expect(name: string, largest: number): Promise<ArchiveFile> {
    const file = await this.next();
    if (file?.name !== name) {
      const shown = file === undefined ? "the end" : JSON.stringify(file.name);
      throw badArchive(`it has ${shown} where ${name} should be`);
    }
    if (file.size > largest) throw badArchive(`its ${name} is larger than ${largest} bytes`);
    return file;
  }

  /**
   * The next file; undefined at the tar's end.
   *
   * @throws {HutchError} `invalid_archive`
   */
  async next(): Promise<ArchiveFile | undefined> {
    while (this.#left > 0) await this.#some();
    if (this.#padding > 0) await this.#exactly(this.#padding);
    this.#padding = 0;
    this.#before = this.#hash.copy();
    const header = await this.#exactly(BLOCK);
    if (header.every((byte) => byte === 0)) return undefined;
    const file = fileOf(header);
    this.#left = file.size;
    this.#padding = (BLOCK - file.size % BLOCK) % BLOCK;
    return file;
  }

  /**
   * Bytes of the present file, as many as asked for.
   *
   * @throws {HutchError} `invalid_archive` when it has fewer.
   */
  async read(count: number): Promise<Uint8Array<ArrayBuffer>> {
    if (count > this.#left) throw badArchive("a part is shorter than it says");
    const bytes = await this.#exactly(count);
    this.#left -= count;
    return bytes;
  }

  /** Reads what is left of the present file as a text. */
  async text(): Promise<string> {
    const bytes = await this.read(this.#left);
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch {
      throw badArchive("a document in it isn't UTF-8");
    }
  }

  /** What is left of the present file, as it comes. */
  async *rest(): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    while (this.#left > 0) yield (await this.#some()).slice();
  }

  /**
   * Makes sure that the archive ends here.
   *
   * @throws {HutchError} `invalid_archive`
   */
  async end(): Promise<void> {
    if (await this.next() !== undefined) throw badArchive("more follows where it should end");
    if ((await this.#exactly(BLOCK)).some((byte) => byte !== 0)) throw badArchive("its end is odd");
    for (let tail = 0; await this.#fill();) {
      const rest = this.#chunk.subarray(this.#at);
      tail += rest.length;
      if (tail > TAIL_LIMIT || rest.some((byte) => byte !== 0)) {
        throw badArchive("more follows behind its end");
      }
      this.#at = this.#chunk.length;
    }
  }

  /** Ends the source. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }

  /** Some bytes of the present file; they stay as they are until the next call. */
  async #some(): Promise<Uint8Array<ArrayBuffer>> {
    if (!await this.#fill()) throw cutShort();
    const bytes = this.#chunk.subarray(this.#at, this.#at + this.#left);
    this.#take(bytes);
    this.#left -= bytes.length;
    return bytes;
  }

  async #exactly(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = new Uint8Array(count);
    for (let done = 0; done < count;) {
      if (!await this.#fill()) throw cutShort();
      const part = this.#chunk.subarray(this.#at, this.#at + count - done);
      this.#take(part);
      bytes.set(part, done);
      done += part.length;
    }
    return bytes;
  }

  #take(bytes: Uint8Array<ArrayBuffer>): void {
    this.#hash.update(bytes);
    this.#at += bytes.length;
  }

  async #fill(): Promise<boolean> {
    while (this.#at === this.#chunk.length) {
      const { value, done } = await this.#source.next();
      if (done) return false;
      this.#chunk = value;
      this.#at = 0;
    }
    return true;
  }
}

function fileOf(header: Uint8Array<ArrayBuffer>): ArchiveFile {
  const sum = header.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0);
  if (octal(header.subarray(148, 156)) !== sum) throw badArchive("it isn't a tar, or is damaged");
  const name = text(header.subarray(0, 100));
  if (header[156] !== 0x30 || !NAME.test(name)) {
    throw badArchive("it has something else than the files of a box");
  }
  const size = sizeOf(header);
  if (size === undefined || !Number.isSafeInteger(size)) {
    throw badArchive(`the size of ${name} can't be`);
  }
  return { name, size };
}

function sizeOf(header: Uint8Array<ArrayBuffer>): number | undefined {
  if (header[124] !== 0x80) return octal(header.subarray(124, 136));
  return Number(new DataView(header.buffer, header.byteOffset).getBigUint64(128));
}

function octal(field: Uint8Array): number | undefined {
  const digits = /^ *([0-7]{1,11})[ \0]*$/.exec(String.fromCharCode(...field))?.[1];
  return digits === undefined ? undefined : parseInt(digits, 8);
}

function text(field: Uint8Array): string {
  const end = field.indexOf(0);
  return String.fromCharCode(...field.subarray(0, end < 0 ? field.length : end));
}

function cutShort() {
  return badArchive("it is cut short");
}
