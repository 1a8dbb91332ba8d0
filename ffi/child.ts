/**
 * Programs that are started without copying this process, see `ffi/child/child.h`.
 *
 * @module
 */
import type { CHILD_SYMBOLS } from "./child_symbols.ts";

/** A library with what starts programs; disposed of when the program has ended. */
export interface ChildLibrary extends Disposable {
  /** Its functions. */
  readonly symbols: Deno.DynamicLibrary<typeof CHILD_SYMBOLS>["symbols"];
}

const ASKED = 1;
const PARTED = 2;
const TOLD = 4;
const ENOENT = 2;
const SIGKILL = 9;
const SIGTERM = 15;
const EWOULDBLOCK = Deno.build.os === "linux" ? 11 : 35;
/** Longest answer, in bytes. */
const LINE_LIMIT = 16 * 1024;
/** Bytes of its standard error that are kept. */
const WORDS_LIMIT = 4_000;

/** What {@link ChildProcess.start} starts. */
export interface ChildOptions {
  /** Its file's path, and its arguments; none of them empty. */
  readonly command: readonly [string, ...string[]];
  /** Its environment. @default {a `PATH` alone} */
  readonly env?: Readonly<Record<string, string>>;
  /** Its working folder. @default {that of this process} */
  readonly folder?: string;
  /** A file that is its standard input. @default {an empty one} */
  readonly input?: string;
  /** A file that is its standard error, cut or made. @default {what it says is kept for its end} */
  readonly errorPath?: string;
  /** A file that it holds locked (`flock`) while it lives; made where it isn't there. */
  readonly lock?: string;
  /** Whether it is to be asked: it reads lines, unless it has an `input`, and writes lines. @default {false} */
  readonly asked?: boolean;
  /**
   * Whether it is in a session of its own, and lives on when this process has ended. Else it dies with
   * this process (Linux). @default {false}
   */
  readonly parted?: boolean;
  /**
   * Its descriptor 3: one of this process, which has it no more then, or a pipe by which it can be told
   * something. @default {it has none}
   */
  readonly third?: number | "told" | undefined;
}

/** What `hutch-share beside` has left to the program that it became; see `ffi/share/beside.c`. */
export interface Beside {
  /** The machine's program, or what waits to become that. */
  readonly child: ChildProcess;
  /** Descriptor of a file for the transfer disk. */
  readonly transfer: number;
  /** Descriptor of a socket that listens for the machine's network device; undefined where there is none. */
  readonly network: number | undefined;
}

/** How a program ended. */
export interface ChildEnd {
  /** Its exit code, or null. */
  readonly code: number | null;
  /** The signal that ended it, or null. */
  readonly signal: string | null;
  /** The last that it said on its standard error, unless that is a file. */
  readonly output: string;
}

/** A program that runs. */
export class ChildProcess {
  /** Parted ones that nobody waits for: the kernel keeps those that have ended until somebody does. */
  static readonly #unwatched = new Set<ChildProcess>();

  readonly #library: ChildLibrary;
  /** Calls that are under way on other threads, and what they work with. */
  readonly #asking = new Set<{ readonly call: Promise<bigint> }>();
  #child: bigint;
  #ended: Promise<ChildEnd> | undefined;

  private constructor(library: ChildLibrary, child: bigint) {
    this.#library = library;
    this.#child = child;
  }

  /**
   * Starts a program.
   *
   * @param library Disposed of when the program has ended, or wasn't started.
   * @returns Undefined while somebody else holds its lock.
   * @throws Error when it can't be started.
   */
  static start(library: ChildLibrary, options: ChildOptions): ChildProcess | undefined {
    const { command, env = {}, folder = "", input = "", errorPath = "", lock = "" } = options;
    const { asked = false, parted = false, third } = options;
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const words = [...command, ...variables];
    const paths = [folder, input, errorPath, lock];
    if (words.includes("") || [...words, ...paths].some((text) => text.includes("\0"))) {
      library[Symbol.dispose]();
      throw new Error(
        `${command[0]} can't be started with an argument that is empty, or a text that has a zero`,
      );
    }
    ChildProcess.#collect();
    const made = new BigUint64Array(1);
    const result = library.symbols.hutch_child_start(
      cList(command),
      cList(variables),
      cList(paths),
      typeof third === "number" ? third : -1,
      (asked ? ASKED : 0) | (parted ? PARTED : 0) | (third === "told" ? TOLD : 0),
      made,
    );
    if (result === 0) {
      const child = new ChildProcess(library, made[0] ?? 0n);
      if (parted) ChildProcess.#unwatched.add(child);
      else void child.ended; // what it says meanwhile is to be read
      return child;
    }
    library[Symbol.dispose]();
    if (result === -EWOULDBLOCK) return undefined;
    throw new Error(`${command[0]} can't be started: errno ${-result}`);
  }

  /**
   * Takes what was started beside this process; undefined where nothing was, or it is taken.
   *
   * @param library Disposed of when the program has ended, or there is none.
   * @throws Error when it isn't there any more.
   */
  static beside(library: ChildLibrary): Beside | undefined {
    const found = new ArrayBuffer(16);
    const result = library.symbols.hutch_child_beside(new Uint8Array(found));
    if (result < 0) library[Symbol.dispose]();
    if (result === -ENOENT) return undefined;
    if (result < 0) throw new Error(`what was started beside is gone: errno ${-result}`);
    const view = new DataView(found);
    const child = new ChildProcess(library, view.getBigUint64(0, true));
    void child.ended;
    const network = view.getInt32(12, true);
    return {
      child,
      transfer: view.getInt32(8, true),
      network: network < 0 ? undefined : network,
    };
  }

  static #collect(): void {
    for (const child of ChildProcess.#unwatched) {
      if (child.#library.symbols.hutch_child_has_ended(child.#child) === 1) void child.ended;
    }
  }

  /** The number of its process. */
  get pid(): number {
    return this.#child === 0n ? 0 : this.#library.symbols.hutch_child_pid(this.#child);
  }

  /** How it ended. Who asks for it keeps this process alive until then. */
  get ended(): Promise<ChildEnd> {
    ChildProcess.#unwatched.delete(this);
    return this.#ended ??= this.#end();
  }

  /**
   * Gives it a line and reads its next one; one at a time.
   *
   * @param line Without its end. @default {it is given nothing}
   * @returns Undefined when it doesn't read, ends before it answers, or says too much.
   */
  async ask(line?: string): Promise<string | undefined> {
    if (this.#child === 0n) return undefined;
    const bytes = new TextEncoder().encode(line === undefined ? "" : `${line}\n`);
    const answer = new Uint8Array(LINE_LIMIT);
    const call = this.#library.symbols.hutch_child_ask(
      ...[this.#child, bytes, BigInt(bytes.length), answer, BigInt(answer.length)] as const,
    );
    const question = { call, bytes, answer }; // no collector may take them meanwhile
    this.#asking.add(question);
    const length = Number(await call);
    this.#asking.delete(question);
    return length < 0 ? undefined : new TextDecoder().decode(answer.subarray(0, length));
  }

  /** Ends what it reads, with a last text; not while it is asked. No-op when it has ended. */
  tellLast(text: string): void {
    if (this.#child === 0n) return;
    const bytes = new TextEncoder().encode(text);
    this.#library.symbols.hutch_child_tell_last(this.#child, bytes, BigInt(bytes.length));
  }

  /** Writes to the pipe that is its descriptor 3, which ends then. False: it doesn't read there. */
  tellThird(text: string): boolean {
    if (this.#child === 0n) return false;
    const bytes = new TextEncoder().encode(text);
    const { symbols } = this.#library;
    return symbols.hutch_child_tell_third(this.#child, bytes, BigInt(bytes.length)) === 0;
  }

  /** Ends it at once; idempotent. */
  kill(): void {
    this.#signal(SIGKILL);
  }

  /** Asks it to end (`SIGTERM`); idempotent. */
  terminate(): void {
    this.#signal(SIGTERM);
  }

  #signal(number: number): void {
    if (this.#child !== 0n) this.#library.symbols.hutch_child_signal(this.#child, number);
  }

  async #end(): Promise<ChildEnd> {
    const words = new Uint8Array(WORDS_LIMIT);
    const length = new Uint32Array([words.length]);
    const { symbols } = this.#library;
    const result = await symbols.hutch_child_wait(this.#child, words, length);
    const child = this.#child;
    this.#child = 0n;
    void Promise.all(Array.from(this.#asking, ({ call }) => call)).then(() => {
      symbols.hutch_child_free(child);
      this.#library[Symbol.dispose]();
    });
    return {
      code: result < 0 ? null : result,
      signal: result < 0 ? signalName(-result) : null,
      output: new TextDecoder().decode(words.subarray(0, length[0])).trim(),
    };
  }
}

/** Signals that programs end by. */
const SIGNALS: Readonly<Record<number, string>> = {
  1: "SIGHUP",
  2: "SIGINT",
  3: "SIGQUIT",
  4: "SIGILL",
  5: "SIGTRAP",
  6: "SIGABRT",
  8: "SIGFPE",
  9: "SIGKILL",
  11: "SIGSEGV",
  13: "SIGPIPE",
  14: "SIGALRM",
  15: "SIGTERM",
};
/** Those whose numbers are Linux's own. */
const LINUX_SIGNALS: Readonly<Record<number, string>> = {
  7: "SIGBUS",
  24: "SIGXCPU",
  25: "SIGXFSZ",
  31: "SIGSYS",
};

function signalName(number: number): string {
  const own = Deno.build.os === "linux" ? LINUX_SIGNALS[number] : undefined;
  return SIGNALS[number] ?? own ?? `signal ${number}`;
}

/** Each with a zero behind it, and one more behind the last. */
function cList(texts: readonly string[]): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(texts.map((text) => `${text}\0`).join("") + "\0");
}
