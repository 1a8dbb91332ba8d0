/**
 * A command in a box: awaited for its result, or streamed while it runs.
 *
 * @module
 */
import { Thenable } from "../thenable.ts";
import { HutchError } from "../errors.ts";
import type { ExecProcess } from "../plugin/contract.ts";
import { deferredReadable, deferredWritable } from "./deferred_stream.ts";
import { checkInput, feed } from "./exec_input.ts";
import type { ExecOptions, ExecResult, ExecStatus, TerminalSize } from "./exec_options.ts";
import { ttySizeOf } from "./exec_tty.ts";

/** How long a failure waits for the command's end: a box that stands still has none, in `ms`. */
const END_MS = 500;
/** Default of {@link ExecOptions.maxOutputBytes}. */
const MAX_OUTPUT_BYTES = 64 * 2 ** 20;

/**
 * A command that was asked for. Awaiting it collects its output; `stdout`, `stderr` and `lines()`
 * give it as it comes. A command whose output nobody reads waits once about 1 MiB is on its way.
 *
 * @example Awaited
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const { code, stdout } = await box.exec("echo", ["hello"]);
 * console.log(code, stdout); // 0 "hello\n"
 * ```
 *
 * @example Line by line
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * for await (const line of box.exec("seq", ["3"]).lines()) console.log(line);
 * ```
 */
export class Execution extends Thenable<ExecResult> implements AsyncDisposable {
  /**
   * What `Box.execution` and `Box.logs` know a detached command by, 12 hexadecimal digits; undefined
   * for any other.
   */
  readonly id: string | undefined;
  /** Process id in the box, once the command runs; rejects when it can't be started. */
  readonly started: Promise<{ readonly pid: number }>;
  /** How the command ended; doesn't wait for its output to be read. */
  readonly status: Promise<ExecStatus>;
  readonly #process: Promise<ExecProcess>;
  /** Made when somebody asks for them: most commands are only awaited. */
  #stdin: WritableStream<Uint8Array> | undefined;
  #stdout: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #stderr: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  readonly #givingUp = new AbortController();
  /** Why the stream that it was to read broke, if it did: that is then what everything fails with. */
  #brokenInput: { readonly reason: unknown } | undefined;
  readonly #command: string;
  readonly #maxOutputBytes: number;
  #result: Promise<ExecResult> | undefined;

  /** For boxes; `open` starts the command, until its signal says that nobody wants it any more. */
  constructor(
    command: string,
    open: (signal: AbortSignal) => Promise<ExecProcess>,
    options: ExecOptions,
    id?: string,
  ) {
    super();
    this.id = id;
    this.#command = command;
    const process = quiet(checked(options, () => open(this.#givingUp.signal)));
    this.#process = process;
    this.#maxOutputBytes = options.maxOutputBytes ?? MAX_OUTPUT_BYTES;
    this.started = quiet(this.#orInput(process.then(({ pid }) => ({ pid }))));
    this.status = quiet(this.#orInput(process.then(({ status }) => status)));
    void feed(options.stdin, {
      into: () => this.stdin,
      over: this.status,
      failed: (reason) => this.#inputBroke(reason, options),
    });
  }

  /**
   * What the command reads, where the option `stdin` is `"piped"`. Writing fails with `broken_pipe`
   * once the command has closed it or ended; the command and its box go on.
   */
  get stdin(): WritableStream<Uint8Array> {
    return this.#stdin ??= deferredWritable(this.#process);
  }

  /** What the command prints, byte by byte; on a terminal all of it. */
  get stdout(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stdout ??= deferredReadable(
      this.#process,
      "stdout",
      (read) => this.#orInput(read),
    );
  }

  /** What the command says beside, byte by byte. */
  get stderr(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#stderr ??= deferredReadable(
      this.#process,
      "stderr",
      (read) => this.#orInput(read),
    );
  }

  /** Waits for the end and collects all output; see {@link ExecOptions.maxOutputBytes}. */
  override then<A = ExecResult, B = never>(
    fulfilled?: ((result: ExecResult) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.#result ??= this.#collect();
    return this.#result.then(fulfilled, rejected);
  }

  /**
   * Sends a signal to the command and its children that share its process group.
   *
   * @param signal Name of the signal. @default {"SIGTERM"}
   */
  async kill(signal: Deno.Signal = "SIGTERM"): Promise<void> {
    await (await this.#process).kill(signal);
  }

  /**
   * Changes the size of the command's terminal, which the command is told by `SIGWINCH`; no-op once
   * it has ended.
   *
   * @throws HutchError `invalid_option` when it has no terminal, or for a size that none has.
   */
  async resize(size: TerminalSize): Promise<void> {
    ttySizeOf(size);
    const process = await this.#process;
    if (!process.resize) {
      throw new HutchError(
        "invalid_option",
        `Cannot resize the terminal of "${this.#command}": it has none`,
        { hint: "ask for one with the option tty" },
      );
    }
    await process.resize(size);
  }

  /** Standard output as lines, without their ends. Standard error is thrown away meanwhile. */
  async *lines(): AsyncIterableIterator<string> {
    quiet(this.stderr.cancel());
    let rest = "";
    const text = this.stdout.pipeThrough(new TextDecoderStream());
    for await (const chunk of text) {
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      if (rest.length > this.#maxOutputBytes) throw this.#tooMuch("one line");
      for (const part of parts) yield part.endsWith("\r") ? part.slice(0, -1) : part;
    }
    if (rest !== "") yield rest;
    await this.status; // a command that could not run has no lines
  }

  /** Kills the command if it still runs and isn't detached, and lets go of its streams. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#givingUp.abort(
      new HutchError("cancelled", `Cannot go on with "${this.#command}": it was let go`),
    );
    const process = await this.#process.catch(() => undefined);
    await process?.close();
  }

  async #collect(): Promise<ExecResult> {
    try {
      return await this.#orInput(this.#gather());
    } catch (error) {
      await soon(this[Symbol.asyncDispose]());
      throw error;
    }
  }

  async #gather(): Promise<ExecResult> {
    const process = await this.#process;
    const [stdoutBytes, stderrBytes] = await Promise.all([
      this.#read(unread(process.stdout, this.#stdout), "its standard output"),
      this.#read(unread(process.stderr, this.#stderr), "its standard error"),
    ]);
    const status = await this.status;
    const decoder = new TextDecoder();
    return {
      ...status,
      stdout: decoder.decode(stdoutBytes),
      stderr: decoder.decode(stderrBytes),
      stdoutBytes,
      stderrBytes,
    };
  }

  async #read(
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    what: string,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const chunks: Uint8Array[] = [];
    let length = 0;
    for await (const chunk of stream) {
      length += chunk.length;
      if (length > this.#maxOutputBytes) throw this.#tooMuch(what);
      chunks.push(chunk);
    }
    const whole = new Uint8Array(length);
    let at = 0;
    for (const chunk of chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }

  #tooMuch(what: string): HutchError {
    return new HutchError(
      "limit_exceeded",
      `Cannot collect the output of "${this.#command}": ${what} has more than ${this.#maxOutputBytes} bytes`,
      { hint: "read stdout as a stream, or raise maxOutputBytes" },
    );
  }

  /** Kills the command: what it has read isn't all that it was to read, and it can't know that. */
  #inputBroke(reason: unknown, { detached }: ExecOptions): void {
    this.#brokenInput = { reason };
    if (detached) quiet(this.#killDetached());
    else quiet(this[Symbol.asyncDispose]());
  }

  /** It isn't given up before it runs: nobody would know of it. */
  async #killDetached(): Promise<void> {
    try {
      await this.kill("SIGKILL");
    } finally {
      await this[Symbol.asyncDispose]();
    }
  }

  /** What a promise gives, unless the input broke before. */
  async #orInput<T>(promise: Promise<T>): Promise<T> {
    const [settled] = await Promise.allSettled([promise]);
    if (this.#brokenInput) throw this.#brokenInput.reason;
    if (settled.status === "rejected") throw settled.reason;
    return settled.value;
  }
}

async function checked(
  { stdin }: ExecOptions,
  open: () => Promise<ExecProcess>,
): Promise<ExecProcess> {
  checkInput(stdin);
  return await open();
}

/** Waits for the command's end, which goes on behind it where that takes long. */
async function soon(ending: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, END_MS));
  try {
    await Promise.race([quiet(ending), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Marks a promise as looked at: its failure shows where it is awaited, and nowhere else. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** The command's own stream, without ours around it, unless somebody has begun with that. */
function unread(
  own: ReadableStream<Uint8Array<ArrayBuffer>>,
  ours: ReadableStream<Uint8Array<ArrayBuffer>> | undefined,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  return ours !== undefined && (own.locked || ours.locked) ? ours : own;
}
