/**
 * A box, as programs hold it.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { FileLock } from "../file_lock.ts";
import { MAIN } from "../guest/held_messages.ts";
import type { StopInput } from "../plugin/contract.ts";
import { startOf } from "../plugin/scope.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import { removed } from "./change.ts";
import { exportBox, type ExportOptions, type ExportResult } from "./archive/export.ts";
import { commitBox, type CommitOptions, type CommitResult } from "./commit.ts";
import { randomId } from "./config.ts";
import type { BoxContext } from "./context.ts";
import { BoxExecution, type ExecutionInfo, executionInfo } from "./box_execution.ts";
import type { ExecOptions, ExecStatus } from "./exec_options.ts";
import { Copy } from "./copy.ts";
import type { CopyOptions, CopyOutOptions, CopyResult } from "./copy_options.ts";
import { type CopyPort, runCopyIn, runCopyOut } from "./copy_run.ts";
import { BoxProcess, type SpawnOptions, spawnPlan } from "./exec_spawn.ts";
import { Execution } from "./execution.ts";
import { BoxFiles } from "./files.ts";
import { orGivenUp, throwIfGivenUp } from "./giving_up.ts";
import { infoOf } from "./info.ts";
import { discardBox, killBox, removeBox, settle, stopBox } from "./ending.ts";
import { type LogEntry, type LogsOptions, readLogs } from "./logs.ts";
import { type BoxMetrics, boxMetrics, type CpuSample } from "./metrics.ts";
import type { BoxConfig, BoxInfo } from "./options.ts";
import { pauseBox, resumeBox } from "./pausing.ts";
import { reconcile } from "./reconcile.ts";
import { runCommand } from "./run_command.ts";
import { ShellCommand, type ShellRunner } from "./sh.ts";
import { shellScript, type ShellValue } from "./sh_script.ts";
import { SharedTask } from "./shared_task.ts";
import { type BoxConnection, checkPort, connectTo } from "./connection.ts";
import { boxRequest, fetchOver } from "./fetching.ts";
import { publish, unpublish } from "./publishing.ts";
import type { PublishedPort } from "../network/ports.ts";
import { cloneBox, startAll } from "./clone.ts";
import { quiesceBox } from "./quiesce.ts";
import type { CloneOptions, Quiesced, QuiesceOptions } from "./snapshot_options.ts";
import { Snapshots } from "./snapshots.ts";
import { type LiveBox, startOrAttach } from "./starting.ts";
import { stepOf } from "./transitions.ts";
import { type BoxUpdate, renameBox, updateBox } from "./update.ts";
import { type BoxWaitOptions, waitForBox } from "./wait.ts";
import { tellDetachedEnd } from "./watch_exec.ts";

const STOP_TIMEOUT_MS = 10_000;
const KILL_AFTER_MS = 5_000;

/** Options of {@link Box.start}. */
export interface BoxStartOptions {
  /**
   * Gives the start up, which then rejects with `cancelled`; the start itself goes on as long as somebody
   * else asked for it too.
   */
  readonly signal?: AbortSignal;
  /** The box outlives this program. @default {what `create` was told, false for boxes found by `get`} */
  readonly detached?: boolean;
}

/** Options of {@link Box.stop} and {@link Box.restart}. */
export interface BoxStopOptions {
  /**
   * Time between TERM and KILL for the box's processes, in `ms`, up to a day; 0 kills at once.
   *
   * @default {10000}
   */
  readonly timeoutMs?: number;
  /** After it the machine is ended if the guest hasn't by itself, in `ms`, up to a day. @default {5000} */
  readonly killAfterMs?: number;
}

/** What needs a connection to the box. */
type LiveOperation = "start" | "exec" | "restart" | "attach";

/**
 * A box: recorded by `Runtime.create`, booted by `start` or the first `exec`. A handle stays good
 * across stops: the next `start` or `exec` boots the box again. Once the box was removed, by
 * whomever, every operation throws `box_not_found`.
 *
 * `await using` stops a box that this program started and that isn't detached, and removes it
 * where `autoRemove` is set.
 */
export class Box implements AsyncDisposable {
  readonly #context: BoxContext;
  #config: BoxConfig;
  readonly #closing = new AbortController();
  #ownerLock: FileLock | undefined;
  #detached: boolean;
  #live: SharedTask<LiveBox> | undefined;
  #cpu: CpuSample | undefined;
  #fs: BoxFiles | undefined;
  #snapshots: Snapshots | undefined;
  #mine = false; // this program started it
  #process: LiveBox["process"]; // the newest that this program started

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

  /** Unique in the home. A rename by another program shows after the next operation. */
  get name(): string {
    return this.#config.name;
  }

  /** What the box is, as of the last operation; {@link Box.update} changes some of it. */
  get config(): BoxConfig {
    return this.#config;
  }

  /** The box's files, with root's rights. */
  get fs(): BoxFiles {
    return this.#fs ??= this.fsAs("");
  }

  /** The box's files, with the rights of a user: `name|uid[:group|gid]`. */
  fsAs(user: string): BoxFiles {
    return new BoxFiles({
      name: () => this.name,
      cwd: () => this.#config.exec.cwd,
      guest: async (signal) => (await this.#connected("exec", signal ? { signal } : {})).client,
    }, user);
  }

  /**
   * What is known about the box now.
   *
   * @throws HutchError `box_not_found` when it was removed.
   */
  async info(): Promise<BoxInfo> {
    return this.#infoOf(await this.#now());
  }

  /**
   * What the box uses now and has done so far, by whatever programs.
   *
   * @throws HutchError `box_not_found` when it was removed.
   */
  async metrics(): Promise<BoxMetrics> {
    const { metrics, sample } = await boxMetrics(this.#context, await this.#now(), this.#cpu);
    this.#cpu = sample;
    return metrics;
  }

  /**
   * Boots the box; no-op when it runs. Callers at the same time share one start.
   *
   * @throws HutchError that names the stage, with codes such as `boot_failed`, `boot_timeout`,
   * `engine_unavailable`; `box_state` when it is paused.
   */
  async start(options: BoxStartOptions = {}): Promise<void> {
    await this.#connected("start", options);
  }

  /** Ports of this machine that lead to the box, as of now; none while it doesn't run. */
  get ports(): readonly PublishedPort[] {
    const { state } = this.#record();
    return ACTIVE.includes(state.status) ? state.ports : [];
  }

  /**
   * Publishes ports while the box runs, until it stops or {@link Box.unpublish}: what `ports` of
   * `Runtime.create` does for every start.
   *
   * @param spec `[HOSTIP:][HOSTPORT:]GUESTPORT[/tcp|udp]`, also ranges.
   * @returns The ports, with the numbers that the system picked.
   * @throws HutchError `invalid_option`, `port_unavailable`, `box_state` when it doesn't run or has
   * no network.
   */
  publish(spec: string): Promise<readonly PublishedPort[]> {
    return publish(this.#context, this.id, spec);
  }

  /**
   * Takes published ports away; connections that are there already stay. Without a host port it is
   * the first one that leads to that port of the box.
   *
   * @throws HutchError `invalid_option` when it isn't published, `box_state` when it doesn't run.
   */
  unpublish(spec: string): Promise<void> {
    return unpublish(this.#context, this.id, spec);
  }

  /**
   * Connects to a TCP port of the box's own loopback, which needn't be published; a box without a
   * network has these too. Boots the box first if it doesn't run.
   *
   * @throws HutchError `port_refused` when nothing listens there, and as {@link Box.exec} does.
   */
  async connect(
    port: number,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<BoxConnection> {
    checkPort(port);
    const { client } = await this.#connected("exec", options);
    return await connectTo(client, port, { box: this.name, signal: options.signal });
  }

  /**
   * Fetches from an HTTP server in the box, by {@link Box.connect}: HTTP/1.1, a connection for each
   * request, bodies streamed both ways. Redirects and compressed bodies are given as they come.
   *
   * @param port Port of the box.
   * @param input A path, a URL whose host is only a header, or a `Request`.
   * @throws HutchError `port_refused`; the signal's reason; Node's errors when the answer isn't HTTP.
   *
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox" });
   * await box.sh`echo hello > /tmp/note; httpd -p 127.0.0.1:8000 -h /tmp`;
   * console.log(await (await box.fetch(8000, "/note")).text());
   * ```
   */
  async fetch(
    port: number,
    input: Request | URL | string,
    init?: RequestInit,
  ): Promise<Response> {
    const request = boxRequest(port, input, init);
    const { signal } = request;
    const connection = await this.connect(port, { signal }).catch((error: unknown) => {
      signal.throwIfAborted(); // as fetch has it
      throw error;
    });
    return await fetchOver(connection, request);
  }

  /**
   * Runs a command; boots the box first if it doesn't run.
   *
   * @param command Program, looked up in the box's `PATH` unless it has a `/`.
   * @param args Its arguments.
   */
  exec(command: string, args: readonly string[] = [], options: ExecOptions = {}): Execution {
    const asked = { command, args, options };
    const id = randomId();
    return new Execution(
      command,
      (givingUp) =>
        runCommand(this.#context, this, asked, {
          givingUp,
          guest: async (signal) => (await this.#connected("exec", { signal })).client,
          id,
        }),
      options,
      options.detached ? id : undefined,
    );
  }

  /**
   * The detached executions that the box holds, its main command among them; the oldest first. They
   * are forgotten when the box stops.
   *
   * @throws HutchError `box_state` when the box doesn't run.
   */
  async executions(): Promise<ExecutionInfo[]> {
    const { client } = await this.#connected("attach", {});
    const all = (await client.held()).map(executionInfo);
    for (const { id, status, startedAt, endedAt } of all) {
      if (!status || endedAt === null) continue;
      const tookMs = Date.parse(endedAt) - Date.parse(startedAt);
      tellDetachedEnd(this.#context, this.#config, id, { ...status, tookMs });
    }
    return all;
  }

  /**
   * A detached execution by its id, from whatever program; whether there is one shows when it is
   * used.
   */
  execution(id: string): BoxExecution {
    return new BoxExecution(id, {
      guest: async (signal) => (await this.#connected("attach", signal ? { signal } : {})).client,
      logs: (options) => this.logs(options),
      seen: (status) => tellDetachedEnd(this.#context, this.#config, id, status),
      ...id === MAIN ? { ended: () => this.#mainEnd() } : {},
    });
  }

  /** The box's main command; undefined if it has none. */
  get main(): BoxExecution | undefined {
    return this.#config.main ? this.execution(MAIN) : undefined;
  }

  /**
   * What the box's main command, detached executions and console said, in the order in which the
   * box process got it; also of earlier runs, and when the box doesn't run. The newest 30 MiB are
   * kept unless `log` of the box's options says otherwise.
   *
   * @throws HutchError `invalid_option`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox", main: ["echo", "hello"] });
   * await box.start();
   * for await (const { time, source, text } of box.logs({ source: "main", follow: "run" })) {
   *   console.log(time, source, text);
   * }
   * ```
   */
  logs(options: LogsOptions = {}): AsyncGenerator<LogEntry, void> {
    const { outputFolder } = boxPaths(this.#context.paths, this.id);
    const { signal } = options;
    const signals = [this.#context.signal, this.#closing.signal, ...signal ? [signal] : []];
    return readLogs(
      { folder: outputFolder, over: (follow) => this.#saysNoMore(follow) },
      { ...options, signal: AbortSignal.any(signals) },
    );
  }

  async #saysNoMore(follow: true | "run"): Promise<boolean> {
    const record = this.#context.records.byId(this.id);
    const now = record && await reconcile(this.#context, record, false);
    if (!now) return true;
    const { status } = now.state;
    if (follow === true || ACTIVE.includes(status) || status === "configured") return false;
    return !this.#context.keepings.of(this.id).kept;
  }

  async #mainEnd(): Promise<ExecStatus | undefined> {
    const { exitCode } = await this.wait();
    if (exitCode === null) return undefined;
    return { success: exitCode === 0, code: exitCode, signal: null, timedOut: false };
  }

  /**
   * Starts a command as `new Deno.Command(command, options).spawn()` does, but in the box; waits
   * until it runs.
   *
   * @param command Program, looked up in the box's `PATH` unless it has a `/`.
   * @throws HutchError as {@link Box.exec} does.
   */
  async spawn(command: string | URL, options: SpawnOptions = {}): Promise<BoxProcess> {
    const plan = spawnPlan(command, options, this.#config.exec.user);
    return await BoxProcess.start(
      (signal) => this.exec(plan.command, plan.args, { ...plan.options, signal }),
      options,
    );
  }

  /**
   * A shell command, as a template: what is between the values reaches `/bin/sh` as it is written,
   * each value is quoted to be one word, and an array is as many words. It runs when it is awaited
   * or its output is asked for; see {@link ShellCommand}, and {@link rawShell} for values that the
   * shell is to read.
   *
   * @throws HutchError `invalid_option` for a value that isn't a text or number, has a NUL character
   * in it, or stands where it can't be quoted: within quotes, a comment, a here-document.
   */
  sh(pieces: TemplateStringsArray, ...values: readonly ShellValue[]): ShellCommand {
    const run: ShellRunner = (script, options) => this.exec("/bin/sh", ["-c", script], options);
    return new ShellCommand(shellScript(pieces.raw, values), run);
  }

  /**
   * Copies a file or tree of the host into the box; boots the box first if it doesn't run. A file
   * becomes the destination, or goes into it where it is a folder or ends with `/`; a folder's
   * contents go into the destination. No link below the destination is followed. Sockets are left
   * out.
   *
   * @param source A path on the host; or a tar, which is unpacked in the destination.
   * @param destination A path in the box, from its root.
   * @throws HutchError `copy_failed`, `no_space`, `invalid_option`, `cancelled`, and what a start throws.
   */
  copyIn(
    source: string | ReadableStream<Uint8Array>,
    destination: string,
    options: CopyOptions = {},
  ): Copy {
    const input = { source, destination, options };
    return this.#copy(options, (port) => runCopyIn(this.#context, this, input, port));
  }

  /**
   * Copies a file or tree of the box to the host, as {@link Box.copyIn} does the other way. What
   * comes is looked upon as hostile: nothing is written but below the destination, devices and fifos
   * are refused, files come without set-id bits. Other programs of the host must not change folders
   * of the destination meanwhile.
   *
   * @param source A path in the box, from its root.
   * @param destination A path on the host; or who takes a tar, which is as the box made it.
   * @throws HutchError as copyIn, and `limit_exceeded`.
   */
  copyOut(
    source: string,
    destination: string | WritableStream<Uint8Array>,
    options: CopyOutOptions = {},
  ): Copy {
    const input = { source, destination, options };
    return this.#copy(options, (port) => runCopyOut(this.#context, this, input, port));
  }

  /**
   * Makes an image of the box: what it has that its image hasn't becomes one layer more, with owners,
   * times, attributes and marks for what is gone. What a start writes by itself (`/etc/hosts`,
   * `/etc/hostname`, `/etc/resolv.conf`), volumes and sockets stay out, and so does the box's own
   * environment: `config` says what the image is to have. The disk is taken as for a snapshot: a box
   * that runs stands still for a moment.
   *
   * @param reference What the image is to be called, such as `team/app:1`.
   * @throws HutchError `invalid_reference`, `box_state`, `image_refused`, `invalid_image` for what a layer
   * can't hold, `no_space`, `cancelled`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox" });
   * await box.sh`echo hello > /note`;
   * await box.commit("team/note:1", { config: { cmd: ["cat", "/note"] } });
   * await using other = await runtime.create({ image: "team/note:1" });
   * console.log(await other.sh`cat /note`.text()); // hello
   * ```
   */
  commit(reference: string, options: CommitOptions = {}): Promise<CommitResult> {
    const signals = [this.#context.signal, ...options.signal ? [options.signal] : []];
    const signal = AbortSignal.any(signals);
    return commitBox(this.#context, this.id, reference, { ...options, signal });
  }

  /**
   * Writes the box into one file or stream, which `Runtime.import` makes a box of, here or elsewhere:
   * its configuration, its disk and, unless told otherwise, its image. Nothing that hutch was told to
   * keep secret goes along, but what is on the disk or in the box's environment does. The disk is taken
   * as for a snapshot: a box that runs stands still for a moment.
   *
   * @param to Path of a file, which is replaced when all is written, or a stream, which is closed then.
   * @throws HutchError `box_state`, `image_not_found`, `no_space`, `state_corrupt`, `cancelled`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox" });
   * const { bytes } = await box.export(`${await Deno.makeTempDir()}/web.hutch`);
   * console.log(bytes);
   * ```
   */
  export(
    to: string | WritableStream<Uint8Array<ArrayBuffer>>,
    options: ExportOptions = {},
  ): Promise<ExportResult> {
    const signals = [this.#context.signal, ...options.signal ? [options.signal] : []];
    const signal = AbortSignal.any(signals);
    return exportBox(this.#context, this.id, to, { ...options, signal });
  }

  #copy(
    options: CopyOptions,
    run: (port: CopyPort) => Promise<CopyResult>,
  ): Copy {
    const guest = async (signal: AbortSignal) => (await this.#connected("exec", { signal })).client;
    return new Copy((signal, tell) => run({ signal, tell, guest }), options.signal);
  }

  /**
   * Stops the box: TERM to its processes, KILL after `timeoutMs`, file systems unmounted. No-op
   * when it doesn't run. One that removes itself goes then; its disk is written to no more, unless a
   * plugin has a hook around `stop` or `remove`.
   */
  async stop(options: BoxStopOptions = {}): Promise<void> {
    const { plugins } = this.#context;
    if (!this.#config.autoRemove) return await this.#shutDown(options);
    // A hook may yet look at its disk.
    if (!plugins.hasHook("stop") && !plugins.hasHook("remove")) return await this.#discard(options);
    await this.#shutDown(options);
    await this.#goneBy(() => this.remove({ force: true }));
  }

  async #shutDown(options: BoxStopOptions): Promise<void> {
    const { plugins, signal } = this.#context;
    await plugins.run("stop", stopInputOf(options), { signal, box: this }, async (input) => {
      await using live = await this.#lastLive();
      const record = await stopBox(this.#context, this.id, input, live.part);
      await this.#process?.ended(); // it has, and this program is about to know
      return this.#infoOf(record);
    });
  }

  async #discard(options: BoxStopOptions): Promise<void> {
    this.#record(); // says that it was removed before
    await using live = await this.#lastLive();
    await this.#goneBy(async () => {
      await discardBox(this.#context, this.id, stopInputOf(options), live.part);
      await this.#wasRemoved();
    });
  }

  /** The live part, for the last time. */
  async #lastLive(): Promise<AsyncDisposable & { readonly part: LiveBox | undefined }> {
    const part = await this.#live?.result.catch(() => undefined);
    this.#live = undefined;
    return { part, [Symbol.asyncDispose]: async () => await part?.client[Symbol.asyncDispose]() };
  }

  /** Ends the box at once, as if its power was cut. No-op when it doesn't run. */
  async kill(): Promise<void> {
    await killBox(this.#context, this.id);
    await this.#process?.ended();
    await this.#letGo();
    if (this.#config.autoRemove) await this.#goneBy(() => this.remove({ force: true }));
  }

  /**
   * Stops the box if it runs, and starts it; one that removes itself stays. It belongs to this
   * program from then on, unless it is detached.
   *
   * @throws HutchError as {@link Box.start} does.
   */
  async restart(options: BoxStopOptions & BoxStartOptions = {}): Promise<void> {
    const { status } = (await this.#now()).state;
    if (ACTIVE.includes(status)) await this.#shutDown(options);
    await this.#connected("restart", options);
  }

  /**
   * Lets the box's machine stand still, with all that runs in it; no-op when it does. Its clock
   * stands still too, where the engine can do that.
   *
   * @throws HutchError `box_state` when it doesn't run.
   */
  async pause(): Promise<void> {
    this.#seen(await pauseBox(this.#context, this.id));
  }

  /**
   * Lets a paused box go on; no-op when it runs.
   *
   * @throws HutchError `box_state` when it doesn't run.
   */
  async resume(): Promise<void> {
    this.#seen(await resumeBox(this.#context, this.id));
  }

  /** The box's snapshots. */
  get snapshots(): Snapshots {
    return this.#snapshots ??= new Snapshots(this.#context, {
      box: this,
      stop: () => this.#shutDown({}),
    });
  }

  /**
   * Runs a function while the box stands still: its agent freezes its file systems (5 s at most), the
   * machine is paused, and both go on afterwards, whatever happens; seconds later at most when this
   * program dies meanwhile. Where freezing fails the function runs all the same, and the result says
   * so, unless `consistency` is `"required"`. A box that doesn't run is held from being started.
   *
   * The function can't use operations that wait for the box: starts, stops, snapshots.
   *
   * @throws HutchError `freeze_failed`, `box_state`; what the function throws.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox" });
   * await box.start();
   * const { consistency, pausedMs } = await box.quiesce(() => console.log("nothing moves"));
   * console.log(consistency, pausedMs);
   * ```
   */
  async quiesce<T>(body: () => T | Promise<T>, options: QuiesceOptions = {}): Promise<Quiesced<T>> {
    this.#record();
    return await quiesceBox(this.#context, this.id, options, body);
  }

  /**
   * Makes boxes that have this one's disk, as it is or as a snapshot has it, and share its blocks. Each
   * is somebody else: id, name, host name, and (when it first starts) machine id, SSH host keys and
   * random seed. Options are this box's; fixed ports of this machine become ones that the system picks,
   * and the clones don't remove themselves. A box that runs stands still for a moment.
   *
   * @throws HutchError `name_taken` (and no box is made), `invalid_option`, `snapshot_not_found`,
   * `no_space`, `freeze_failed`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using box = await runtime.create({ image: "builtin:busybox" });
   * await box.sh`echo hello > /note`;
   * const clones = await box.clone({ name: "worker", count: 3 });
   * for (const clone of clones) {
   *   console.log(clone.name, await clone.sh`cat /note`.text()); // worker-1 hello …
   *   await clone.remove({ force: true });
   * }
   * ```
   */
  async clone(options: CloneOptions = {}): Promise<Box[]> {
    this.#record();
    const configs = await cloneBox(this.#context, this.id, options);
    const clones = configs.map((config) => this.#context.adopt(config, options.detached ?? false));
    if (options.start) await startAll(clones);
    return clones;
  }

  /**
   * Gives the box another name, in any state. Its host name stays.
   *
   * @throws HutchError `invalid_option`, `name_taken`.
   */
  rename(name: string): Promise<void> {
    return this.#change(() => renameBox(this.#context, this.id, name));
  }

  /**
   * Changes some of what the box was created with. Labels and `bootTimeoutMs` can always be
   * changed, the rest counts from the next start on.
   *
   * @throws HutchError `invalid_option`, `box_state` for what can't change while it runs.
   */
  update(update: BoxUpdate): Promise<void> {
    return this.#change(() => updateBox(this.#context, this.id, update));
  }

  async #change(change: () => BoxRecord | Promise<BoxRecord>): Promise<void> {
    this.#record(); // says that it was removed, by its name
    this.#seen(await change());
  }

  /**
   * Removes the box, its disk and its record. By `force` one that runs is cut off at once; one with
   * volumes once its guest has written to them, for which it gets 5 seconds.
   *
   * @throws HutchError `box_state` when it runs and `force` isn't set.
   */
  async remove(options: { readonly force?: boolean } = {}): Promise<void> {
    const { plugins, signal } = this.#context;
    const input = { force: options.force ?? false };
    await plugins.run("remove", input, { signal, box: this }, async ({ force }) => {
      await removeBox(this.#context, this.id, { force, process: this.#process });
      await this.#wasRemoved();
      return { id: this.id };
    });
  }

  async #wasRemoved(): Promise<void> {
    await this.#process?.ended();
    await this.#letGoOfRemoved();
    this.#context.forget(this);
  }

  /**
   * Lets the box outlive this program. One that is paused where the engine can't pause by itself
   * (libkrun) goes on when this program ends.
   */
  async detach(): Promise<void> {
    this.#record();
    this.#detached = true;
    await this.#partFrom(await this.#live?.result.catch(() => undefined));
  }

  async #partFrom(live: LiveBox | undefined): Promise<void> {
    const started = live?.process !== undefined;
    // First: a box that wants a keeper is never without one.
    await this.#context.keepers.detach(this.#context, this.id, { started });
    live?.process?.detach();
  }

  /**
   * Waits until the box doesn't run any more, or is in a state.
   *
   * @throws HutchError `box_not_found` when it gets removed meanwhile, `cancelled`.
   */
  async wait(options: BoxWaitOptions = {}): Promise<BoxInfo> {
    const { signal } = options;
    const signals = [this.#context.signal, this.#closing.signal, ...(signal ? [signal] : [])];
    const record = await waitForBox(this.#context, this, options.for, AbortSignal.any(signals));
    return this.#infoOf(this.#seen(record));
  }

  /** Ends what this program holds of the box; see the class. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new HutchError("cancelled", `Box "${this.name}" was let go`));
    await this.#context.keepers.release(this.id);
    this.#context.forget(this);
    await this.#live?.result.catch(() => undefined);
    if (this.#detached || !(this.#mine || this.#ownerLock)) return await this.#letGo();
    if (!this.#context.records.byId(this.id)) return await this.#letGoOfRemoved();
    try {
      if (this.#mine) await this.stop(); // removes it too where that is set
    } catch (error) {
      if (!(error instanceof HutchError) || error.code !== "box_not_found") throw error;
      await this.#letGo(); // another program has removed it meanwhile
    }
    if (this.#ownerLock) await this.#goneBy(() => this.remove({ force: true }));
  }

  /** Removes a box that is to go by itself; that somebody else was faster is fine. */
  async #goneBy(removal: () => Promise<void>): Promise<void> {
    try {
      await removal();
    } catch (error) {
      if (!(error instanceof HutchError) || error.code !== "box_not_found") throw error;
      await this.#letGoOfRemoved();
    }
  }

  async #letGoOfRemoved(): Promise<void> {
    this.#ownerLock?.[Symbol.dispose]();
    this.#ownerLock = undefined;
    await this.#letGo();
  }

  /** The live part; `cancelled` for whoever aborts, at whichever stage of a start that is. */
  #connected(
    operation: LiveOperation,
    options: BoxStartOptions,
  ): Promise<Pick<LiveBox, "client">> {
    return orGivenUp(this.#connect(operation, options), options.signal, this.#deed(operation));
  }

  #deed(operation: LiveOperation): string {
    const starts = operation === "start" || operation === "restart";
    return `${starts ? "start" : "reach"} box "${this.name}"`;
  }

  /** The live part, made again if its connection was lost a moment ago. */
  async #connect(
    operation: LiveOperation,
    options: BoxStartOptions,
  ): Promise<Pick<LiveBox, "client">> {
    const start = startOf(this.id);
    if (start) return { client: start.guest ?? this.#notYet() };
    const before = this.#live?.isOver ? this.#live : undefined;
    const record = this.#record();
    /** A connection to a machine that has ended since: it is about to end, too. */
    const ended = ACTIVE.includes(record.state.status) ? undefined : before;
    stepOf(operation, record.state.status === "paused" ? await this.#now() : record);
    this.#detached = options.detached ?? this.#detached;
    for (;;) {
      throwIfGivenUp(options.signal, this.#deed(operation)); // nothing is begun for one who left
      const known = this.#live;
      const shared = this.#live ??= this.#startOrAttach(operation);
      // What its askers have given up is wound up first; it may have succeeded all the same.
      const live = shared.abandoned
        ? await shared.result.catch(() => undefined)
        : await shared.join(options.signal);
      // One that ended at once was started all the same: its main command may be done.
      if (live && known && (live.client.ending || known === ended)) {
        await live.client.closed;
        if (this.#live === shared) this.#live = undefined;
      } else if (live) {
        if (options.detached) await this.#partFrom(live);
        return live;
      }
    }
  }

  /** The live part, made once whoever asks first. */
  #startOrAttach(operation: LiveOperation): SharedTask<LiveBox> {
    const shared: SharedTask<LiveBox> = new SharedTask((givenUp) =>
      this.#goLive(operation, givenUp).catch((error: unknown) => {
        if (this.#live === shared) this.#live = undefined;
        throw error;
      })
    );
    return shared;
  }

  async #goLive(operation: LiveOperation, givenUp: AbortSignal): Promise<LiveBox> {
    const live = await startOrAttach(this.#context, this.id, {
      operation,
      detached: () => this.#detached,
      signal: AbortSignal.any([this.#context.signal, this.#closing.signal, givenUp]),
    });
    this.#mine = live.process !== undefined;
    this.#process = live.process;
    void live.client.closed.then(() => this.#ended(live)).catch(() => {});
    return live;
  }

  /** The connection ended: the next one who needs it makes a new one. */
  async #ended(live: LiveBox): Promise<void> {
    const shared = this.#live;
    const current = await shared?.result.catch(() => undefined);
    if (current !== live || this.#live !== shared) return; // it was let go of: the box may live on
    this.#live = undefined;
    if (live.process) await settle(this.#context, this.id, live.process);
  }

  async #letGo(): Promise<void> {
    await using _live = await this.#lastLive();
  }

  #notYet(): never {
    throw new HutchError(
      "box_state",
      `Cannot run a command in box "${this.name}" from within its own start: it isn't configured yet`,
      { hint: "do it in configure.after, or on box.started" },
    );
  }

  /** The record as it is written. */
  #record(): BoxRecord {
    const record = this.#context.records.byId(this.id);
    if (!record) throw removed(this.name);
    return this.#seen(record);
  }

  /** The record, brought up to date. */
  async #now(): Promise<BoxRecord> {
    const now = await reconcile(this.#context, this.#record(), false);
    if (!now) throw removed(this.name);
    return this.#seen(now);
  }

  #infoOf(record: BoxRecord): BoxInfo {
    return infoOf(record, this.#context.keepings.of(this.id));
  }

  #seen(record: BoxRecord): BoxRecord {
    this.#config = record.config;
    return record;
  }
}

function stopInputOf(
  { timeoutMs = STOP_TIMEOUT_MS, killAfterMs = KILL_AFTER_MS }: BoxStopOptions,
): StopInput {
  return { timeoutMs, killAfterMs };
}
