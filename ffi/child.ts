/**
 * Programs that a box process starts, see `ffi/child/child.h`. A module without imports: every box process
 * loads it.
 *
 * @module
 */

const SYMBOLS = {
  hutch_child_start: {
    // const char *words, const char *folder, const char *input, const char *lock, uint32_t how,
    // hutch_child **made
    parameters: ["buffer", "buffer", "buffer", "buffer", "u32", "buffer"],
    result: "i32",
  },
  hutch_child_ask: {
    // hutch_child *child, const char *bytes, uint64_t length, char *line, uint64_t size
    parameters: ["usize", "buffer", "u64", "buffer", "u64"],
    result: "i64",
    nonblocking: true,
  },
  hutch_child_wait: {
    parameters: ["usize", "buffer", "buffer"], // hutch_child *child, char *words, uint32_t *length
    result: "i32",
    nonblocking: true,
  },
  hutch_child_kill: {
    parameters: ["usize"], // hutch_child *child
    result: "void",
  },
  hutch_child_free: {
    parameters: ["usize"], // hutch_child *child
    result: "void",
  },
} as const satisfies Deno.ForeignLibraryInterface;

const ASKED = 1;
const EWOULDBLOCK = Deno.build.os === "linux" ? 11 : 35;
/** Longest answer, in bytes. */
const LINE_LIMIT = 16 * 1024;
/** Bytes of its standard error that are kept. */
const WORDS_LIMIT = 4_000;

/** What {@link ChildProcess.start} starts. */
export interface ChildOptions {
  /** Its file's path, and its arguments; none of them empty. */
  readonly command: readonly [string, ...string[]];
  /** Its working folder. @default {that of this process} */
  readonly folder?: string;
  /** A file that is its standard input. @default {an empty one} */
  readonly input?: string;
  /** A file that it holds locked (`flock`) while it lives; made where it isn't there. */
  readonly lock?: string;
  /** Whether it is to be asked: it reads lines, unless it has an `input`, and writes lines. @default {false} */
  readonly asked?: boolean;
}

/** How a program ended. */
export interface ChildEnd {
  /** Its exit code, or null. */
  readonly code: number | null;
  /** The signal that ended it, or null. */
  readonly signal: string | null;
  /** The last that it said on its standard error. */
  readonly output: string;
}

/** A program that runs. It has an environment of a `PATH` alone, and dies with this process (Linux). */
export class ChildProcess {
  /** How it ended. */
  readonly ended: Promise<ChildEnd>;
  readonly #library: Deno.DynamicLibrary<typeof SYMBOLS>;
  /** Calls that are under way on other threads, and what they work with. */
  readonly #asking = new Set<{ readonly call: Promise<bigint> }>();
  #child: bigint;

  private constructor(library: Deno.DynamicLibrary<typeof SYMBOLS>, child: bigint) {
    this.#library = library;
    this.#child = child;
    this.ended = this.#end();
  }

  /**
   * Starts a program.
   *
   * @param library The library's file.
   * @returns Undefined while somebody else holds its lock.
   * @throws Error when it can't be started.
   */
  static start(library: string, options: ChildOptions): ChildProcess | undefined {
    const { command, folder = "", input = "", lock = "", asked = false } = options;
    if (command.some((word) => word === "" || word.includes("\0"))) {
      throw new Error(
        `${command[0]} can't be started with an argument that is empty or has a zero`,
      );
    }
    const opened = Deno.dlopen(library, SYMBOLS);
    const made = new BigUint64Array(1);
    const result = opened.symbols.hutch_child_start(
      cString(`${command.join("\0")}\0`),
      ...[cString(folder), cString(input), cString(lock)] as const,
      asked ? ASKED : 0,
      made,
    );
    if (result === 0) return new ChildProcess(opened, made[0] ?? 0n);
    opened.close();
    if (result === -EWOULDBLOCK) return undefined;
    throw new Error(`${command[0]} can't be started: errno ${-result}`);
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

  /** Ends it at once; idempotent. */
  kill(): void {
    if (this.#child !== 0n) this.#library.symbols.hutch_child_kill(this.#child);
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
      this.#library.close();
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
  ...{
    1: "SIGHUP",
    2: "SIGINT",
    3: "SIGQUIT",
    4: "SIGILL",
    5: "SIGTRAP",
    6: "SIGABRT",
    8: "SIGFPE",
  },
  ...{ 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM" },
  ...Deno.build.os === "linux" ? { 7: "SIGBUS", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS" } : {},
};

function signalName(number: number): string {
  return SIGNALS[number] ?? `signal ${number}`;
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
