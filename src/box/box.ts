/**
 * A box, as programs hold it.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { FileLock } from "../file_lock.ts";
import type { ExecReply } from "../guest/messages.ts";
import type { GuestStream } from "../guest/stream.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { untilEnded } from "../vmm/machine.ts";
import { checkCwd, checkEnv } from "./config.ts";
import type { BoxContext } from "./context.ts";
import type { ExecOptions } from "./exec_options.ts";
import { Execution } from "./execution.ts";
import { killBox, type LiveBox, removeBox, settle, startOrAttach, stopBox } from "./lifecycle.ts";
import type { BoxConfig, BoxInfo } from "./options.ts";
import { reconcile } from "./reconcile.ts";

/** Default of `stop`'s `timeoutMs`. */
const STOP_TIMEOUT_MS = 10_000;

/** Options of {@link Box.start}. */
export interface BoxStartOptions {
  /** Cancels the start. */
  readonly signal?: AbortSignal;
  /** The box outlives this program. @default {what `create` was told, false for boxes found by `get`} */
  readonly detached?: boolean;
}

/**
 * A box: recorded by `Runtime.create`, booted by `start` or the first `exec`. A handle stays good
 * across stops: the next `start` or `exec` boots the box again.
 *
 * `await using` stops a box that this program started and that isn't detached, and removes it
 * where `autoRemove` is set.
 */
export class Box implements AsyncDisposable {
  readonly #context: BoxContext;
  readonly #config: BoxConfig;
  readonly #closing = new AbortController();
  #ownerLock: FileLock | undefined;
  #detached: boolean;
  #live: Promise<LiveBox> | undefined;
  #mine = false; // this program started it

  /** For the runtime. */
  constructor(
    context: BoxContext,
    config: BoxConfig,
    options: { detached: boolean; ownerLock?: FileLock },
  ) {
    this.#context = context;
    this.#config = config;
    this.#detached = options.detached;
    this.#ownerLock = options.ownerLock;
  }

  /** 12 lower-case hexadecimal digits. */
  get id(): string {
    return this.#config.id;
  }

  /** Unique in the home. */
  get name(): string {
    return this.#config.name;
  }

  /** What the box was created with; never changes. */
  get config(): BoxConfig {
    return this.#config;
  }

  /**
   * What is known about the box now.
   *
   * @throws HutchError `box_not_found` when it was removed.
   */
  async info(): Promise<BoxInfo> {
    const record = this.#context.records.byId(this.id);
    const now = record ? await reconcile(this.#context, record, false) : undefined;
    if (!now) throw this.#gone();
    return infoOf(now);
  }

  /**
   * Boots the box; no-op when it runs. Callers at the same time share one start.
   *
   * @throws HutchError that names the stage, with codes such as `boot_failed`, `boot_timeout`,
   * `engine_unavailable`.
   */
  async start(options: BoxStartOptions = {}): Promise<void> {
    await this.#connected(options);
  }

  /**
   * Runs a command; boots the box first if it doesn't run.
   *
   * @param command Program, looked up in the box's `PATH` unless it has a `/`.
   * @param args Its arguments.
   */
  exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): Execution {
    return new Execution(command, this.#open([command, ...args], options), options);
  }

  /**
   * Stops the box: TERM to its processes, KILL after `timeoutMs`, file systems unmounted. No-op
   * when it doesn't run.
   *
   * @param options `timeoutMs`: default 10,000; 0 kills the processes at once.
   */
  async stop(options: { readonly timeoutMs?: number } = {}): Promise<void> {
    const live = await this.#live?.catch(() => undefined);
    this.#live = undefined;
    try {
      const { timeoutMs = STOP_TIMEOUT_MS } = options;
      await stopBox(this.#context, this.id, timeoutMs, live?.client);
    } finally {
      await live?.client[Symbol.asyncDispose]();
    }
    if (this.#config.autoRemove) await this.remove({ force: true });
  }

  /** Ends the box at once, as if its power was cut. No-op when it doesn't run. */
  async kill(): Promise<void> {
    await killBox(this.#context, this.id);
    await this.#letGo();
    if (this.#config.autoRemove) await this.remove({ force: true });
  }

  /**
   * Removes the box, its disk and its record.
   *
   * @throws HutchError `box_state` when it runs and `force` isn't set.
   */
  async remove(options: { readonly force?: boolean } = {}): Promise<void> {
    await removeBox(this.#context, this.id, options.force ?? false);
    await this.#letGo();
    this.#ownerLock?.[Symbol.dispose]();
    this.#ownerLock = undefined;
  }

  /** Lets the box outlive this program. */
  async detach(): Promise<void> {
    this.#detached = true;
    const live = await this.#live?.catch(() => undefined);
    live?.process?.detach();
  }

  /** Waits until the box doesn't run any more. */
  async wait(): Promise<BoxInfo> {
    await untilEnded(boxPaths(this.#context.paths, this.id).lockPath);
    return await this.info();
  }

  /** Ends what this program holds of the box; see the class. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new HutchError("cancelled", `Box "${this.name}" was let go`));
    await this.#live?.catch(() => undefined);
    if (this.#detached || !(this.#mine || this.#ownerLock)) return await this.#letGo();
    if (!this.#context.records.byId(this.id)) return await this.#letGo();
    if (this.#mine) await this.stop(); // removes it too where that is set
    if (this.#ownerLock) await this.remove({ force: true });
  }

  async #open(argv: readonly string[], options: ExecOptions): Promise<GuestStream<ExecReply>> {
    const { exec } = this.#config;
    checkEnv(options.env ?? {});
    if (options.cwd !== undefined) checkCwd(options.cwd);
    const { signal } = options;
    signal?.throwIfAborted();
    const { client } = await this.#connected(signal ? { signal } : {});
    const env = { HOSTNAME: this.#config.hostname, ...exec.env, ...options.env };
    return client.open({
      op: "exec",
      argv,
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      cwd: options.cwd ?? exec.cwd,
      user: options.user ?? exec.user,
      stdin: options.stdin !== undefined && options.stdin !== "null",
    }, signal ? { signal } : {});
  }

  /** The live part, made again if its connection was lost a moment ago. */
  async #connected(options: BoxStartOptions): Promise<LiveBox> {
    const asked = this.#running(options);
    const live = await asked;
    if (!live.client.ending) return live;
    await live.client.closed;
    if (this.#live === asked) this.#live = undefined;
    return await this.#running(options);
  }

  /** The live part, made once whoever asks first. */
  #running(options: BoxStartOptions): Promise<LiveBox> {
    this.#detached = options.detached ?? this.#detached;
    this.#live ??= this.#startOrAttach(options.signal);
    return this.#live;
  }

  async #startOrAttach(signal: AbortSignal | undefined): Promise<LiveBox> {
    const signals = [this.#context.signal, this.#closing.signal, ...(signal ? [signal] : [])];
    try {
      const live = await startOrAttach(this.#context, this.id, {
        detached: this.#detached,
        signal: AbortSignal.any(signals),
      });
      this.#mine = live.process !== undefined;
      void live.client.closed.then(() => this.#ended(live)).catch(() => {});
      return live;
    } catch (error) {
      this.#live = undefined;
      throw error;
    }
  }

  /** The connection ended: the next one who needs it makes a new one. */
  async #ended(live: LiveBox): Promise<void> {
    const current = await this.#live?.catch(() => undefined);
    if (current === live) this.#live = undefined;
    if (live.process) await settle(this.#context, this.id);
  }

  async #letGo(): Promise<void> {
    const live = await this.#live?.catch(() => undefined);
    this.#live = undefined;
    await live?.client[Symbol.asyncDispose]();
  }

  #gone(): HutchError {
    return new HutchError("box_not_found", `Cannot find box "${this.name}": it was removed`, {
      hint: "hutch ls -a lists all boxes",
    });
  }
}

/** A record in the shape that programs see. */
export function infoOf({ config, state }: BoxRecord): BoxInfo {
  return {
    id: config.id,
    name: config.name,
    status: state.status,
    config,
    pid: state.pid,
    engine: state.engine,
    startedAt: state.startedAt,
    stoppedAt: state.stoppedAt,
    reason: state.reason,
    stages: state.stages,
  };
}
