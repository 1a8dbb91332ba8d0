/**
 * Reading QEMU's migration stream, as `docs/devel/migration` of QEMU describes it and version 3 of it is
 * written by all of them since 2013: a head, then sections. The sections named `ram` hold the machine's
 * memory page by page, of several blocks; the largest is the guest's own. Its pages go to a file of their
 * own, and out of the stream: whoever loads the rest has that file as the block.
 *
 * @module
 */
import type { MemoryOrder } from "../../mod.ts";
import { RAM_BLOCK } from "./qemu_control.ts";

const PAGE = 4096;
/** Bytes that are read at once. */
const PIECE = 1024 * 1024;
/** Pages that are written at once. */
const RUN = 256;

const SECTION = { EOF: 0, START: 1, PART: 2, END: 3, CONFIGURATION: 7, FOOTER: 0x7e } as const;
const FLAG = { ZERO: 0x02, MEM_SIZE: 0x04, PAGE: 0x08, EOS: 0x10, CONTINUE: 0x20 } as const;
const FLAGS = 0xfff;
/** More than any record takes, and what is between two sections. */
const RECORD = 2 * PAGE;

/** Where bytes come from. */
interface Source {
  read(into: Uint8Array): Promise<number | null>;
}

/** Writes both files of a {@link MemoryOrder}, which are made anew. */
export class MigrationReader implements Disposable {
  readonly #ram: Deno.FsFile;
  readonly #state: Deno.FsFile;
  readonly #bytes: number;
  /** Pages that were written, a byte each. */
  readonly #written: Uint8Array;
  readonly #buffer = new Uint8Array(2 * PIECE);
  readonly #view = new DataView(this.#buffer.buffer);
  #source: Source = { read: () => Promise.resolve(null) };
  #at = 0;
  #end = 0;
  /** Where that begins which goes on to the state's file. */
  #kept = 0;
  /** Pages on their way to the file: the first one's number, and how many. */
  readonly #run = new Uint8Array(RUN * PAGE);
  #first = 0;
  #count = 0;
  /** Whether the block that pages are of now is the guest's memory. */
  #own = false;

  /** Opens both. */
  constructor({ ramPath, statePath, memoryMiB }: MemoryOrder) {
    using files = new DisposableStack();
    const options = { write: true, createNew: true, mode: 0o600 };
    this.#ram = files.use(Deno.openSync(ramPath, options));
    this.#state = files.use(Deno.openSync(statePath, options));
    this.#bytes = memoryMiB * 2 ** 20;
    this.#written = new Uint8Array(this.#bytes / PAGE);
    this.#ram.truncateSync(this.#bytes);
    files.move();
  }

  /**
   * Reads the stream to its end.
   *
   * @throws Error when it isn't one, or ends within it.
   */
  async read(source: Source): Promise<void> {
    this.#source = source;
    await this.#need(RECORD);
    if (this.#u32() !== 0x5145564d || this.#u32() !== 3) strange("its head");
    let type = this.#u8();
    if (type === SECTION.CONFIGURATION) {
      this.#skip(this.#u32()); // the machine's type
      type = this.#u8();
    }
    if (type !== SECTION.START) strange("its first section");
    const id = this.#u32();
    const name = this.#text();
    this.#skip(8); // instance and version
    if (name !== "ram") strange(`a section ${JSON.stringify(name)}`);
    for (;;) {
      await this.#memory();
      if (this.#u8() !== SECTION.FOOTER || this.#u32() !== id) strange("a section's end");
      if (type === SECTION.END) break;
      type = this.#u8();
      if (type !== SECTION.PART && type !== SECTION.END) strange(`a section of type ${type}`);
      if (this.#u32() !== id) strange("a section of another kind");
    }
    this.#flushRun();
    // The rest is of devices, and goes on as it is.
    do this.#at = this.#end; while (await this.#more());
    this.#keep();
  }

  /** Closes both. */
  [Symbol.dispose](): void {
    this.#ram[Symbol.dispose]();
    this.#state[Symbol.dispose]();
  }

  /** What a section of this kind holds; with what follows here by then. */
  async #memory(): Promise<void> {
    for (;;) {
      // Nothing waits within a record, of which there are as many as pages.
      if (this.#end - this.#at < RECORD) await this.#need(RECORD);
      const from = this.#at;
      const low = this.#view.getUint32(this.#place(8) + 4);
      const flags = low & FLAGS;
      const address = this.#view.getUint32(from) * 2 ** 32 + (low - flags);
      if (flags === FLAG.EOS) return;
      if (flags === FLAG.MEM_SIZE) await this.#blocks(address);
      else this.#pageOrZeros(flags, address, from);
    }
  }

  /** The list of blocks, `total` bytes long in all. */
  async #blocks(total: number): Promise<void> {
    let found = false;
    for (let sum = 0; sum < total;) {
      await this.#need(RECORD);
      const own = this.#text() === RAM_BLOCK;
      const at = this.#place(8);
      const bytes = this.#view.getUint32(at) * 2 ** 32 + this.#view.getUint32(at + 4);
      if (own && bytes !== this.#bytes) strange(`${bytes} bytes of memory`);
      if (bytes === 0) strange("a block without bytes");
      found ||= own;
      sum += bytes;
    }
    if (!found) strange("it has no memory of the guest");
  }

  #pageOrZeros(flags: number, address: number, from: number): void {
    const kind = flags & ~FLAG.CONTINUE;
    if (kind !== FLAG.PAGE && kind !== FLAG.ZERO) strange(`pages of kind ${flags}`);
    if ((flags & FLAG.CONTINUE) === 0) this.#own = this.#text() === RAM_BLOCK;
    if (!this.#own) return this.#skip(kind === FLAG.PAGE ? PAGE : 1);
    if (address >= this.#bytes) strange("a page beyond the memory's end");
    if (kind === FLAG.PAGE) {
      const at = this.#place(PAGE);
      this.#page(address / PAGE, this.#buffer.subarray(at, at + PAGE));
    } else {
      if (this.#u8() !== 0) strange("a page filled with something else than zeros");
      if (this.#written[address / PAGE]) this.#page(address / PAGE, ZEROS);
    }
    this.#leaveOut(from);
  }

  #page(number: number, bytes: Uint8Array): void {
    if (this.#count === RUN || number !== this.#first + this.#count) this.#flushRun();
    if (this.#count === 0) this.#first = number;
    this.#run.set(bytes, this.#count * PAGE);
    this.#count++;
    this.#written[number] = 1;
  }

  #flushRun(): void {
    if (this.#count === 0) return;
    this.#ram.seekSync(this.#first * PAGE, Deno.SeekMode.Start);
    writeAll(this.#ram, this.#run.subarray(0, this.#count * PAGE));
    this.#count = 0;
  }

  /** What is between a place and here doesn't go on to the state's file. */
  #leaveOut(from: number): void {
    if (from > this.#kept) writeAll(this.#state, this.#buffer.subarray(this.#kept, from));
    this.#kept = this.#at;
  }

  #keep(): void {
    this.#leaveOut(this.#at);
  }

  #text(): string {
    const length = this.#u8();
    const at = this.#place(length);
    return String.fromCharCode(...this.#buffer.subarray(at, at + length));
  }

  #u8(): number {
    return this.#view.getUint8(this.#place(1));
  }

  #u32(): number {
    return this.#view.getUint32(this.#place(4));
  }

  #skip(count: number): void {
    this.#place(count);
  }

  /** Where the next `count` bytes are, which are passed by. */
  #place(count: number): number {
    const at = this.#at;
    if (count > this.#end - at) strange("its end");
    this.#at = at + count;
    return at;
  }

  /** Sees to it that so many bytes are here, unless the stream ends before. */
  async #need(count: number): Promise<void> {
    while (this.#end - this.#at < count && await this.#more()) continue;
  }

  /** Reads on; false at the stream's end. */
  async #more(): Promise<boolean> {
    if (this.#end === this.#buffer.length || this.#at > PIECE) {
      this.#keep();
      this.#buffer.copyWithin(0, this.#at, this.#end);
      this.#end -= this.#at;
      this.#kept = this.#at = 0;
    }
    const count = await this.#source.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }
}

const ZEROS = new Uint8Array(PAGE);

function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}

function strange(what: string): never {
  throw new Error(`QEMU's stream isn't as it is known: ${what}`);
}
