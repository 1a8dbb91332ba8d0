/**
 * Shell commands from template literals.
 *
 * @module
 */
import { Thenable } from "../thenable.ts";
import { errorText, HutchError } from "../errors.ts";
import { CommandError } from "./exec_error.ts";
import type { ExecOptions, ExecResult, ExecStatus } from "./exec_options.ts";
import type { Execution } from "./execution.ts";

/** Of standard error while lines are read, in bytes: more than {@link CommandError} keeps. */
const STDERR_TAIL = 16 * 1024;

/** Runs `/bin/sh -c` with a script. */
export type ShellRunner = (script: string, options: ExecOptions) => Execution;

/** What a {@link ShellCommand} is, beside its script. */
interface Settings {
  readonly options: ExecOptions;
  readonly throws: boolean;
}

/**
 * A command of `` box.sh`…` ``. Nothing runs before it is awaited or its output is asked for, and
 * then it runs once: all of `await`, `text()`, `json()` and `bytes()` share one run. The methods that
 * change something give a new command.
 *
 * It throws {@link CommandError} when it ends with another code than 0 or after its time, unless
 * `noThrow()` was called.
 *
 * @example Values are quoted
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const names = ["a b", "it's"];
 * await box.sh`touch ${names}`.cwd("/tmp");
 * console.log(await box.sh`ls | wc -l`.cwd("/tmp").text()); // 2
 * const { code } = await box.sh`test -e ${"/no/such"}`.noThrow();
 * console.log(code); // 1
 * for await (const line of box.sh`sort`.stdin("b\na\n").lines()) console.log(line);
 * ```
 */
export class ShellCommand extends Thenable<ExecResult> {
  /** The script, with its values quoted. */
  readonly script: string;
  readonly #run: ShellRunner;
  readonly #settings: Settings;
  #result: Promise<ExecResult> | undefined;
  #streamed = false;

  /** For boxes. */
  constructor(
    script: string,
    run: ShellRunner,
    settings: Settings = { options: {}, throws: true },
  ) {
    super();
    this.script = script;
    this.#run = run;
    this.#settings = settings;
  }

  /** Runs it and waits for its end, with all that it printed. */
  override then<A = ExecResult, B = never>(
    fulfilled?: ((result: ExecResult) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#collected().then(fulfilled, rejected);
  }

  /** Its standard output without the line ends at its end, as `$(…)` has it. */
  async text(): Promise<string> {
    return (await this.#collected()).stdout.replace(/\n+$/, "");
  }

  /**
   * Its standard output, read as JSON; `T` is what the caller expects, and isn't checked.
   *
   * @throws HutchError `guest_failed` when it isn't JSON.
   */
  async json<T = unknown>(): Promise<T> {
    const { stdout } = await this.#collected();
    try {
      return JSON.parse(stdout);
    } catch (cause) {
      throw new HutchError(
        "guest_failed",
        `Cannot read what ${JSON.stringify(this.script)} printed as JSON: ${errorText(cause)}`,
        { cause },
      );
    }
  }

  /** Its standard output. */
  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return (await this.#collected()).stdoutBytes;
  }

  /**
   * The lines of its standard output as they come, without their ends. Whoever stops early kills
   * the command; a bad end is thrown after the last line.
   */
  async *lines(): AsyncIterableIterator<string> {
    if (this.#result || this.#streamed) this.#spent();
    this.#streamed = true;
    await using execution = this.#run(this.script, this.#settings.options);
    // First: `lines` throws away what nobody reads.
    const tail = tailOf(execution.stderr);
    yield* execution.lines();
    this.#check(await execution.status, await tail);
  }

  /** The same, but a bad end is a result like any other. */
  noThrow(): ShellCommand {
    return new ShellCommand(this.script, this.#run, { ...this.#settings, throws: false });
  }

  /** The same, in a folder; see {@link ExecOptions.cwd}. */
  cwd(path: string): ShellCommand {
    return this.#with({ cwd: path });
  }

  /** The same, with one more variable. */
  env(name: string, value: string): ShellCommand;
  /** The same, with more variables. */
  env(variables: Readonly<Record<string, string>>): ShellCommand;
  /** The same, with more variables. */
  env(first: string | Readonly<Record<string, string>>, value = ""): ShellCommand {
    const more = typeof first === "string" ? Object.fromEntries([[first, value]]) : first;
    return this.#with({ env: { ...this.#settings.options.env, ...more } });
  }

  /** The same, ended after a time in `ms`; see {@link ExecOptions.timeoutMs}. */
  timeout(ms: number): ShellCommand {
    return this.#with({ timeoutMs: ms });
  }

  /** The same, reading this: text is its own bytes, whatever it says. */
  stdin(input: string | Uint8Array | ReadableStream<Uint8Array>): ShellCommand {
    return this.#with({
      stdin: typeof input === "string" ? new TextEncoder().encode(input) : input,
    });
  }

  #with(options: ExecOptions): ShellCommand {
    const merged = { ...this.#settings.options, ...options };
    return new ShellCommand(this.script, this.#run, { ...this.#settings, options: merged });
  }

  #collected(): Promise<ExecResult> {
    this.#result ??= this.#collect();
    return this.#result;
  }

  async #collect(): Promise<ExecResult> {
    if (this.#streamed) this.#spent();
    const result = await this.#run(this.script, this.#settings.options);
    this.#check(result, result.stderr);
    return result;
  }

  #check(status: ExecStatus, stderr: string): void {
    if (!this.#settings.throws || (status.success && !status.timedOut)) return;
    throw new CommandError(this.script, status, stderr);
  }

  #spent(): never {
    throw new HutchError(
      "invalid_option",
      `Cannot run ${JSON.stringify(this.script)} again: its output was asked for already`,
      { hint: "make another command for each run" },
    );
  }
}

/** The end of a stream as text; what comes before it isn't kept. */
async function tailOf(stream: ReadableStream<Uint8Array>): Promise<string> {
  let kept = new Uint8Array(0);
  try {
    for await (const chunk of stream) {
      const whole = new Uint8Array(kept.length + chunk.length);
      whole.set(kept);
      whole.set(chunk, kept.length);
      kept = whole.slice(-STDERR_TAIL);
    }
  } catch {
    // The command's status says what matters.
  }
  return new TextDecoder().decode(kept);
}
