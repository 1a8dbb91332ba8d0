/**
 * Writes a box's log: what its main command, its detached executions and its console say.
 *
 * It writes at once and waits for that: a guest is slowed down by the disk instead of filling
 * memory. Nothing that goes wrong reaches the caller: what can't be written is counted, and the log
 * says so once there is room again.
 *
 * @module
 */
import { Channel } from "../guest/protocol.ts";
import type { OutputChannel } from "./attachment.ts";
import type { OutputLog } from "./held_execution.ts";
import {
  logFileName,
  type LogLimits,
  type LogLine,
  logNumbers,
  type LogStream,
} from "./log_files.ts";

/** Most bytes of one entry. */
const PIECE = 16 * 1024;

/** What JSON would need six characters for, and texts don't have. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const BINARY = /[\x00-\x07\x0e-\x1a\x1c-\x1f]/;

/** Where a source's next bytes go on. */
interface Tail {
  readonly source: string;
  readonly stream: LogStream;
  /** The beginning of a character whose end is still to come, 3 bytes at most. */
  bytes: Uint8Array;
}

/** See the module. */
export class LogWriter implements OutputLog {
  readonly #folder: string;
  readonly #limits: LogLimits;
  readonly #tails: Map<string, Tail> = new Map();
  #file: Deno.FsFile | undefined;
  #number = 0;
  #size = 0;
  #lost = 0;
  /** Whether the file may end within a line. */
  #torn = false;

  /** Goes on with the log in a folder; it is made when the first entry comes. */
  constructor(folder: string, limits: LogLimits) {
    this.#folder = folder;
    this.#limits = limits;
  }

  write(source: string, channel: OutputChannel, bytes: Uint8Array): void {
    this.#add(source, channel === Channel.STDOUT ? "stdout" : "stderr", bytes);
  }

  /** Writes what came on the console. */
  console(bytes: Uint8Array): void {
    this.#add("console", "console", bytes);
  }

  end(source: string): void {
    for (const [key, tail] of this.#tails) {
      if (tail.source !== source) continue;
      this.#tails.delete(key);
      this.#append([lineOf(tail, tail.bytes)], tail.bytes.length);
    }
  }

  /** Writes what is held back, and lets go of the file. */
  close(): void {
    for (const { source } of [...this.#tails.values()]) this.end(source);
    this.#file?.close();
    this.#file = undefined;
  }

  #add(source: string, stream: LogStream, bytes: Uint8Array): void {
    const key = `${stream} ${source}`;
    const tail = this.#tails.get(key) ?? { source, stream, bytes: new Uint8Array(0) };
    const lines: LogLine[] = [];
    let rest = tail.bytes.length === 0 ? bytes : joined(tail.bytes, bytes);
    const size = rest.length;
    const held = begunCharacter(rest);
    const end = rest.length - held;
    for (let at = 0; at < end;) {
      const most = Math.min(end, at + PIECE);
      const to = most < end ? most - begunCharacter(rest.subarray(at, most)) : most;
      lines.push(lineOf(tail, rest.subarray(at, to)));
      at = to;
    }
    rest = rest.slice(end);
    if (rest.length > 0) this.#tails.set(key, { ...tail, bytes: rest });
    else this.#tails.delete(key);
    this.#append(lines, size - held);
  }

  #append(lines: readonly LogLine[], count: number): void {
    const [first] = lines;
    if (!first) return;
    try {
      if (this.#lost > 0) {
        const { time, source, stream } = first;
        this.#put({ time, source, stream, lost: this.#lost });
        this.#lost = 0;
      }
      for (const line of lines) this.#put(line);
    } catch {
      this.#lost += count;
    }
  }

  #put(line: LogLine): void {
    const bytes = new TextEncoder().encode(`${JSON.stringify(line)}\n`);
    const file = this.#open(bytes.length);
    if (this.#torn) {
      writeAll(file, new Uint8Array([0x0a]));
      this.#size++;
      this.#torn = false;
    }
    this.#torn = true;
    writeAll(file, bytes);
    this.#torn = false;
    this.#size += bytes.length;
  }

  /** The present file, or the next one if so many bytes more don't fit. */
  #open(more: number): Deno.FsFile {
    if (this.#file && (this.#size === 0 || this.#size + more <= this.#limits.maxBytes)) {
      return this.#file;
    }
    if (this.#file) {
      this.#file.close();
      this.#file = undefined;
      this.#number++;
    } else if (this.#number === 0) {
      makeFolder(this.#folder);
      this.#number = logNumbers(this.#folder).at(-1) ?? 1;
    }
    const path = `${this.#folder}/${logFileName(this.#number)}`;
    const file = Deno.openSync(path, { read: true, append: true, create: true, mode: 0o600 });
    this.#file = file;
    this.#size = file.statSync().size;
    this.#torn = this.#size > 0 && !endsLine(file, this.#size); // of a box process that was killed
    this.#dropOld();
    return this.#size === 0 ? file : this.#open(more);
  }

  #dropOld(): void {
    for (const number of logNumbers(this.#folder)) {
      if (number > this.#number - this.#limits.files) break;
      try {
        Deno.removeSync(`${this.#folder}/${logFileName(number)}`);
      } catch {
        // Somebody else removed it, or it can't be: the next rotation tries again.
      }
    }
  }
}

/** How many bytes at the end begin a character of UTF-8 and don't finish it. */
function begunCharacter(bytes: Uint8Array): number {
  for (let count = 1; count <= 3 && count <= bytes.length; count++) {
    const byte = bytes[bytes.length - count] ?? 0;
    if ((byte & 0xc0) === 0x80) continue; // goes on with one
    const length = byte >= 0xf0 && byte < 0xf8 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return byte < 0xf8 && length > count ? count : 0;
  }
  return 0;
}

function lineOf({ source, stream }: Tail, bytes: Uint8Array): LogLine {
  const time = new Date().toISOString();
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    if (!BINARY.test(text)) return { time, source, stream, text };
  } catch {
    // Not UTF-8.
  }
  return { time, source, stream, base64: bytes.toBase64() };
}

/** Not the one that it is in: a box that was removed meanwhile stays so. */
function makeFolder(path: string): void {
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

function endsLine(file: Deno.FsFile, size: number): boolean {
  const last = new Uint8Array(1);
  file.seekSync(size - 1, Deno.SeekMode.Start);
  return file.readSync(last) === 1 && last[0] === 0x0a;
}

function writeAll(file: Deno.FsFile, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += file.writeSync(bytes.subarray(at));
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length);
  whole.set(a);
  whole.set(b, a.length);
  return whole;
}
