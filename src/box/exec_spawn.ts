/**
 * Commands in the shape of Deno's own: `Deno.CommandOptions` in, `Deno.ChildProcess` out.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { HutchError } from "../errors.ts";
import type { ExecOptions, ExecStatus, TerminalSize } from "./exec_options.ts";
import { processInput, ProcessStream, relayTo } from "./exec_stream.ts";
import type { Execution } from "./execution.ts";
import { usualSignal } from "./signals.ts";

/** From TERM to KILL where a process is let go of, in `ms`. */
const KILL_AFTER_MS = 5000;
const MAX_ID = 2 ** 32 - 2;

/** What becomes of a stream; `inherit` is this program's own. */
export type SpawnStdio = "piped" | "inherit" | "null";

/** Options of `Box.spawn`: `Deno.CommandOptions`, and what `Box.exec` has beside. */
export interface SpawnOptions
  extends Omit<ExecOptions, "cwd" | "maxOutputBytes" | "signal" | "stdin"> {
  /** Arguments. @default {[]} */
  readonly args?: readonly string[];
  /** Working folder in the box, absolute; or as `file:` URL. @default {the box's} */
  readonly cwd?: string | URL;
  /** User id in the box; not beside `user`. */
  readonly uid?: number;
  /** Group id in the box; not beside `user`. */
  readonly gid?: number;
  /** Sends `SIGTERM` to the command when aborted; before it runs, gives it up. */
  readonly signal?: AbortSignal;
  /** Unlike Deno's, nothing is read unless it is asked for. @default {"null"} */
  readonly stdin?: SpawnStdio;
  /** Where standard output goes. @default {"inherit"} */
  readonly stdout?: SpawnStdio;
  /** Where standard error goes. @default {"inherit"} */
  readonly stderr?: SpawnStdio;
}

/** A command and its options as `Box.exec` takes them. */
export interface SpawnPlan {
  readonly command: string;
  readonly args: readonly string[];
  readonly options: ExecOptions;
}

/** What to run. `boxUser` is whom `gid` alone is for. Throws `invalid_option`. */
export function spawnPlan(
  command: string | URL,
  options: SpawnOptions,
  boxUser: string,
): SpawnPlan {
  const {
    args = [],
    cwd,
    uid,
    gid,
    stdin,
    stdout: _out,
    stderr: _error,
    signal: _signal,
    ...rest
  } = options;
  const byId = uid !== undefined || gid !== undefined;
  if (byId && rest.user !== undefined) refuse("Cannot use uid or gid beside user");
  for (const [name, id] of [["uid", uid], ["gid", gid]] as const) {
    if (id === undefined || (Number.isInteger(id) && id >= 0 && id <= MAX_ID)) continue;
    refuse(`Cannot use ${name} ${id}: it isn't a whole number from 0 to ${MAX_ID}`);
  }
  const user = uid === undefined ? boxUser.split(":")[0] : String(uid);
  return {
    command: typeof command === "string" ? command : fileURLToPath(command),
    args,
    options: {
      ...rest,
      ...cwd === undefined ? {} : { cwd: typeof cwd === "string" ? cwd : fileURLToPath(cwd) },
      ...byId ? { user: gid === undefined ? `${user}` : `${user}:${gid}` } : {},
      stdin: stdin === "piped" || stdin === "inherit" ? "piped" : "null",
    },
  };
}

/**
 * A command of `Box.spawn`. It is a `Deno.ChildProcess` by its shape; what is different: `status`
 * rejects with `connection_lost` when the box is lost, and `ref` and `unref` do nothing, since it is
 * the runtime, not a command, that keeps this program alive.
 *
 * @example
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const child = await box.spawn("tr", { args: ["a-z", "A-Z"], stdin: "piped", stdout: "piped" });
 * const writer = child.stdin.getWriter();
 * await writer.write(new TextEncoder().encode("hello"));
 * await writer.close();
 * console.log(await child.stdout.text(), (await child.status).code); // HELLO 0
 * ```
 */
export class BoxProcess implements Deno.ChildProcess {
  /** Process id in the box. */
  readonly pid: number;
  /** How it ended. */
  readonly status: Promise<Deno.CommandStatus>;
  readonly #execution: Execution;
  readonly #stdin: WritableStream<Uint8Array<ArrayBufferLike>> | undefined;
  readonly #stdout: ProcessStream | undefined;
  readonly #stderr: ProcessStream | undefined;
  readonly #readers: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>[] = [];
  #ended = false;

  private constructor(execution: Execution, pid: number, options: SpawnOptions) {
    this.#execution = execution;
    this.pid = pid;
    const { signal, stdin = "null", stdout = "inherit", stderr = "inherit" } = options;
    this.#stdin = stdin === "piped" ? processInput(execution.stdin) : undefined;
    this.#stdout = this.#output(execution.stdout, stdout, Deno.stdout);
    this.#stderr = this.#output(execution.stderr, stderr, Deno.stderr);
    const ended = new AbortController();
    const abort = () => this.#ended || this.kill();
    this.status = execution.status.then(statusOf).finally(() => {
      this.#ended = true;
      signal?.removeEventListener("abort", abort);
      ended.abort();
    });
    this.status.catch(() => {}); // it shows where it is awaited, and nowhere else
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    if (stdin !== "inherit") return;
    // Neither end is the other's to end; what it would say comes with the status.
    Deno.stdin.readable.pipeTo(execution.stdin, { preventCancel: true, signal: ended.signal })
      .catch(() => {});
  }

  /** Waits until the command runs. For boxes. */
  static async start(
    exec: (signal: AbortSignal) => Execution,
    options: SpawnOptions,
  ): Promise<BoxProcess> {
    const givingUp = new AbortController();
    const giveUp = () => givingUp.abort(options.signal?.reason);
    if (options.signal?.aborted) giveUp();
    options.signal?.addEventListener("abort", giveUp);
    const execution = exec(givingUp.signal);
    try {
      const { pid } = await execution.started;
      return new BoxProcess(execution, pid, options);
    } catch (error) {
      await execution[Symbol.asyncDispose]();
      throw error;
    } finally {
      options.signal?.removeEventListener("abort", giveUp);
    }
  }

  /** What it reads. Throws TypeError unless it is piped. */
  get stdin(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#stdin ?? notPiped("stdin");
  }

  /** What it prints. Throws TypeError unless it is piped. */
  get stdout(): ProcessStream {
    return this.#stdout ?? notPiped("stdout");
  }

  /** What it says beside. Throws TypeError unless it is piped. */
  get stderr(): ProcessStream {
    return this.#stderr ?? notPiped("stderr");
  }

  /** Waits for its end and collects what is piped; the rest throws TypeError when looked at. */
  async output(): Promise<Deno.CommandOutput> {
    const [status, stdout, stderr] = await Promise.all([
      this.status,
      this.#stdout?.bytes(),
      this.#stderr?.bytes(),
    ]);
    return {
      ...status,
      get stdout() {
        return stdout ?? notPiped("stdout");
      },
      get stderr() {
        return stderr ?? notPiped("stderr");
      },
    };
  }

  /**
   * Sends a signal to its process group.
   *
   * @param signo Name or number; 0 only asks whether it runs. @default {"SIGTERM"}
   * @throws TypeError when it has ended; HutchError `invalid_option` for a signal that Linux lacks.
   */
  kill(signo: Deno.Signal | number = "SIGTERM"): void {
    if (this.#ended) throw new TypeError("Child process has already terminated");
    if (signo === 0) return;
    const name = usualSignal(signo);
    if (name === undefined) refuse(`Cannot send signal ${signo}: Linux has none like it`);
    // It may be over by now, or lost; its status says so.
    this.#execution.kill(name).catch(() => {});
  }

  /** Changes its terminal's size; see {@link Execution.resize}. */
  resize(size: TerminalSize): Promise<void> {
    return this.#execution.resize(size);
  }

  /** Does nothing; see the class. */
  ref(): void {}

  /** Does nothing; see the class. */
  unref(): void {}

  /** Sends TERM if it still runs, KILL 5 s later, and lets go of its streams. */
  async [Symbol.asyncDispose](): Promise<void> {
    // What nobody reads must not hold its end back.
    for (const reader of this.#readers) reader.cancel().catch(() => {});
    for (const signal of ["SIGTERM", "SIGKILL"] as const) {
      if (this.#ended) break;
      this.kill(signal);
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, KILL_AFTER_MS);
      await Promise.race([this.status.catch(() => {}), promise]);
      clearTimeout(timer);
    }
    await this.#execution[Symbol.asyncDispose]();
  }

  #output(
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    stdio: SpawnStdio,
    own: Parameters<typeof relayTo>[1],
  ): ProcessStream | undefined {
    if (stdio === "piped") {
      const reader = stream.getReader();
      this.#readers.push(reader);
      return new ProcessStream(reader);
    }
    if (stdio === "inherit") void relayTo(stream, own);
    else stream.cancel().catch(() => {});
    return undefined;
  }
}

function statusOf({ success, code, signal }: ExecStatus): Deno.CommandStatus {
  return { success, code, signal: signal === null ? null : usualSignal(signal) ?? null };
}

function notPiped(name: string): never {
  throw new TypeError(`Cannot get '${name}': '${name}' is not piped`);
}

function refuse(message: string): never {
  throw new HutchError("invalid_option", message);
}
