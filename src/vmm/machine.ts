/**
 * Starts box processes and watches them, from the user's program.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ChildLibrary, ChildProcess } from "../../ffi/child.ts";
import { helper, missingPart, sharePath } from "../../ffi/library.ts";
import { exists, writeAtomically } from "../atomic_file.ts";
import { FileLock } from "../file_lock.ts";
import { errorText, HutchError } from "../errors.ts";
import { holdsLock } from "../lock_holders.ts";
import { cacheModules, cachePackages, ownCommand, processFlags } from "../own_process.ts";
import { asPermissionError, requirePermissions } from "../permissions.ts";
import type {
  BesideOptions,
  BesideProgram,
  DiskLock,
  Engine,
  EngineReport,
  MachineShare,
  MachineShares,
  MachineSpec,
} from "./engine.ts";
import { type BoxProcessModule, boxProcessModule } from "./built_module.ts";
import {
  type BoxProcessPlan,
  DETACH,
  type MachineFile,
  machineFilePath,
  type ReadyLine,
  START,
  writeExitFile,
} from "./machine_file.ts";
import { PATH } from "./program.ts";

const BOX_PROCESS = import.meta.resolve("./box_process.ts");
/** Longer than a program holds a dead one's lock, in `ms`. */
const MOMENT_MS = 5;
/** Text of a box process's log that goes into an error, in characters. */
const LOG_TAIL = 2_000;
/** As `ffi/share/beside.c` has it. */
const BESIDE: BesideOptions = { listener: 3, transferPath: "/proc/self/fd/4" };
/** How long one that isn't wanted may take to end by itself, in `ms`. */
const GIVE_UP_MS = 5_000;

/** A box process that this program started. */
export interface BoxProcess {
  /** Its number; 0 when it was seen to have ended. */
  readonly pid: number;
  /** What its network answered to its orders. */
  readonly answers: readonly string[];
  /** Resolves when it has ended, with how: `code 1`, `signal SIGKILL`. */
  ended(): Promise<string>;
  /** Lets it outlive this program. */
  detach(): void;
  /** Ends it and its machine at once. */
  kill(): void;
  /** The same without its doing, after its guest's goodbye: what it would write at its end isn't written. */
  cut(): void;
}

/** The network refused one of its first orders, and no machine was started. */
export class OrderFailed extends Error {
  readonly order: number;
  /** Its line of JSON. */
  readonly answer: string;

  constructor(order: number, answer: string) {
    super(`Cannot start the machine's network: it answered ${answer}`);
    this.order = order;
    this.answer = answer;
  }
}

/** A box process, and what it needs beside its plan to be started. */
export interface BoxProcessOptions {
  readonly plan: BoxProcessPlan;
  readonly permissions: EngineReport["permissions"];
  /** {@link MachineSpec.shares}. */
  readonly shares?: MachineShares | undefined;
  /** {@link MachineSpec.locks}. */
  readonly locks?: readonly DiskLock[] | undefined;
  /** Whether a program is to be started beside it, once there is one; for a machine without shares and locks. */
  readonly beside?: boolean;
}

/** What a box process is told to start. */
export interface MachineOrder {
  readonly spec: MachineSpec;
  readonly limits: MachineFile["limits"];
  readonly orders: readonly string[];
  /** Its program, should it be started beside. */
  readonly beside?: Engine["beside"];
  /** A line for its interceptor, kept out of the file. */
  readonly secretLine?: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * A box process that makes itself ready, and waits for its machine. Until that is started, it ends with
 * this program.
 */
export class WaitingBoxProcess implements AsyncDisposable {
  readonly #options: BoxProcessOptions;
  readonly #child: ChildProcess;
  #started = false;

  private constructor(options: BoxProcessOptions, child: ChildProcess) {
    this.#options = options;
    this.#child = child;
  }

  /**
   * Starts one.
   *
   * @throws HutchError `part_missing`; Error when the system refuses.
   */
  static async open(options: BoxProcessOptions): Promise<WaitingBoxProcess> {
    const { plan } = options;
    const { folder, network, runner } = plan;
    const module = boxProcessModule(runner);
    const own = ownCommand({
      role: "box",
      module: module.url,
      args: [JSON.stringify(plan)],
      flags: boxProcessFlags(options, module),
      folder,
    });
    const command = await prepared(options, own.command);
    await cacheModules([BOX_PROCESS, runner]);
    if (network?.interceptor) {
      await cachePackages(network.interceptor.module, network.interceptor.lock);
    }
    const child = ChildProcess.start(childLibrary(), {
      command,
      env: { ...environment(), ...own.env },
      folder,
      errorPath: logPathOf(folder),
      asked: true,
      parted: true, // the terminal's Ctrl-C is for the user's program
      third: options.beside ? "told" : undefined,
    });
    if (!child) throw new Error(`${command[0]} is locked`);
    return new WaitingBoxProcess(options, child);
  }

  /** Whether it still waits, and was started with just these. */
  isFor(options: BoxProcessOptions): boolean {
    return !this.#started && JSON.stringify(options) === JSON.stringify(this.#options);
  }

  /**
   * Starts the machine, and waits until the process serves its sockets. To be called once; when it fails,
   * the process has ended.
   *
   * @throws HutchError `boot_failed` when the engine can't start the machine; {@link OrderFailed}.
   */
  async start({ secretLine, signal, beside, ...machine }: MachineOrder): Promise<BoxProcess> {
    this.#started = true;
    const child = this.#child;
    const abort = () => child.terminate();
    signal.addEventListener("abort", abort, { once: true });
    try {
      signal.throwIfAborted();
      const { folder } = machine.spec;
      const { plan } = this.#options;
      const file: MachineFile = {
        ...machine,
        beside: this.#startBeside(beside?.(machine.spec, BESIDE)),
        runner: plan.runner,
      };
      await writeAtomically(machineFilePath(folder), JSON.stringify(file));
      const line = await child.ask(secretLine === undefined ? START : `${START}\n${secretLine}`);
      signal.throwIfAborted();
      const ready = parseReady(line ?? "");
      if (ready && "ready" in ready) return running(child, ready.answers);
      child.kill();
      await child.ended;
      if (ready?.order !== undefined) throw new OrderFailed(ready.order, ready.answer ?? "");
      const logPath = logPathOf(folder);
      const said = ready ? ready.error : await tailOf(logPath, LOG_TAIL);
      throw new HutchError(
        "boot_failed",
        `Cannot start the machine: ${said || "its process ended without a word"}`,
        { hint: `see ${logPath}` },
      );
    } catch (error) {
      child.terminate();
      await child.ended;
      throw error;
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  /** False: it starts what it needs itself. */
  #startBeside(program: BesideProgram | undefined): boolean {
    if (!this.#options.beside) return false;
    return this.#child.tellThird(program ? besideOrder(program) : "") && program !== undefined;
  }

  /** Ends it, unless its machine was started; returns when it has ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#started) return;
    this.#started = true;
    this.#child.tellLast("");
    const timer = setTimeout(() => this.#child.kill(), GIVE_UP_MS);
    await this.#child.ended;
    clearTimeout(timer);
  }
}

function running(child: ChildProcess, answers: readonly string[]): BoxProcess {
  return {
    get pid() {
      return child.pid;
    },
    answers,
    async ended() {
      const { code, signal } = await child.ended;
      return signal === null ? `code ${code}` : `signal ${signal}`;
    },
    detach() {
      child.tellLast(DETACH);
    },
    kill() {
      child.terminate();
    },
    cut() {
      child.kill();
    },
  };
}

/** The helper, which stays open. */
function childLibrary(): ChildLibrary {
  return { symbols: helper(), [Symbol.dispose]() {} };
}

/**
 * Starts the box process of a machine and waits until it serves its sockets.
 *
 * @throws HutchError `boot_failed` when the engine can't start the machine, `part_missing`;
 * {@link OrderFailed}.
 */
export async function startBoxProcess(
  options: BoxProcessOptions,
  order: MachineOrder,
): Promise<BoxProcess> {
  const waiting = await WaitingBoxProcess.open(options);
  return await waiting.start(order);
}

function logPathOf(folder: string): string {
  return join(folder, "box.log");
}

/** What `hutch-share beside` starts a program by. */
function besideOrder({ command, env, input = "/dev/null", lock = "" }: BesideProgram): string {
  const variables = Object.entries({ PATH, ...env }).map(([name, value]) => `${name}=${value}`);
  const list = (words: readonly string[]) => [...words, ""].map((word) => `${word}\0`).join("");
  return `${input}\0${lock}\0${list(variables)}${list(command)}`;
}

/**
 * The command with its disks locked, in a mount namespace that has the shares, or with a program beside; as it
 * is when there is nothing of that. The program that does so becomes the command: the process stays the same.
 */
async function prepared(
  { shares, locks = [], beside, plan }: BoxProcessOptions,
  command: readonly [string, ...string[]],
): Promise<readonly [string, ...string[]]> {
  const path = sharePath();
  if (beside) {
    const { lockPath, controlPath, network } = plan;
    const listens = [`${controlPath}.own`, ...network ? [network.socketPath] : []];
    return [path, "beside", lockPath, ...listens, "--", ...command];
  }
  const list = shares?.list ?? [];
  if (list.length === 0 && locks.length === 0) return command;
  if (!await exists(path)) throw missingPart("share", "mount volumes");
  requirePermissions("mount volumes", [{ name: "run", command: path }]);
  const entered = shares && list.length > 0
    ? [path, "enter", shares.folder, ...list.flatMap(shareArguments), "--", ...command]
    : command;
  const locked = locks.flatMap(({ path, shared }) => [shared ? "sh" : "ex", path]);
  const [program = path, ...args] = locked.length > 0
    ? [path, "lock", ...locked, "--", ...entered]
    : entered;
  return [program, ...args];
}

function shareArguments(share: MachineShare): string[] {
  return [shareMode(share), share.tag, share.path];
}

/** As `ffi/share` reads it: `ro`, or `rw,map=FROM:TO:FROM:TO` with users and then groups. */
function shareMode({ readOnly, owner }: MachineShare): string {
  const mode = readOnly ? "ro" : "rw";
  if (!owner) return mode;
  const { from, to, required } = owner;
  return `${mode},${required ? "map" : "try"}=${from[0]}:${to[0]}:${from[1]}:${to[1]}`;
}

/**
 * The flags of a box process. It gets what its machine needs and nothing else: the box's
 * own files, the engine's programs and libraries.
 */
function boxProcessFlags(
  { plan, permissions }: BoxProcessOptions,
  { hasRunner }: BoxProcessModule,
): string[] {
  const { folder, socketPath, channelPath, controlPath, sharesSocketPath, network, runner } = plan;
  const { interceptor } = network ?? {};
  const served = [socketPath, channelPath, `${controlPath}.own`];
  const writable = [
    ...[folder, ...served, controlPath],
    ...(sharesSocketPath === undefined ? [] : [sharesSocketPath]),
    ...(network ? [network.socketPath, network.controlPath] : []),
    ...(interceptor ? [interceptor.socketPath] : []),
  ].join(",");
  const ffi = [...permissions.ffi ?? [], plan.library];
  const run = [
    ...permissions.run ?? [],
    ...interceptor ? [Deno.execPath()] : [],
  ];
  const modules = !hasRunner && runner.startsWith("file:") ? [dirname(fileURLToPath(runner))] : [];
  const readable = [writable, ...modules].join(",");
  return [
    ...processFlags([BOX_PROCESS, runner]),
    "--v8-flags=--expose-gc", // see `giveMemoryBack`
    "--no-code-cache", // opening it takes longer than there is to gain
    `--allow-read=${readable}`,
    `--allow-write=${writable}`,
    `--allow-net=${served.map((path) => `unix:${path}`).join(",")}`,
    ...(run.length > 0 ? [`--allow-run=${run.join(",")}`] : []),
    `--allow-ffi=${ffi.join(",")}`,
  ];
}

function environment(): Record<string, string> {
  const names = ["HOME", "DENO_DIR", "XDG_CACHE_HOME"]; // where Deno's cache of modules is
  return {
    MALLOC_ARENA_MAX: "1", // few threads, and it lives long: memory counts more than speed
    ...Object.fromEntries(
      names.map((name) => [name, Deno.env.get(name) ?? ""]).filter(([, value]) => value !== ""),
    ),
  };
}

function parseReady(line: string): ReadyLine | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Whether a box process lives: it holds the lock. */
export function isAlive(lockPath: string): boolean {
  return FileLock.isHeld(lockPath);
}

/** Tells a living box process from those that are started after it; for {@link untilEnded}. */
export function lifeOf(lockPath: string): string | undefined {
  return FileLock.fileAt(lockPath);
}

/**
 * Waits until a box process has ended, whoever started it.
 *
 * @param life The one that is meant: the box may have been started again. @default {the one now}
 */
export async function untilEnded(lockPath: string, life = lifeOf(lockPath)): Promise<void> {
  await FileLock.untilFree(lockPath, life);
}

/**
 * Ends a box process and its machine at once, a stopped one too. It isn't asked, which would take
 * it longer than dying: its exit file is written in its stead, unless it has just done so itself.
 *
 * @param pid Null when its program ended before it wrote the number down: then it ends by itself.
 */
export async function killBoxProcess(
  pid: number | null,
  { lockPath, exitPath }: { readonly lockPath: string; readonly exitPath: string },
): Promise<void> {
  const life = lifeOf(lockPath);
  if (!isAlive(lockPath)) return; // the number may be somebody else's by now
  if (pid === null || !holdsLock(pid, lockPath)) {
    // So it may be while some program, which has found it dead, takes its lock's file away.
    await new Promise((resolve) => setTimeout(resolve, MOMENT_MS));
    if (!isAlive(lockPath)) return;
  }
  if (pid === null) return await untilEnded(lockPath, life);
  try {
    writeExitFile(exitPath, "killed");
  } catch {
    // On a full disk the box counts as one whose process was killed, which is as true.
  }
  signalProcess(pid, "SIGKILL");
  await untilEnded(lockPath, life);
}

function signalProcess(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw asPermissionError(error, "end a box");
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new HutchError(
        "box_state",
        `Cannot end process ${pid} of the box: ${errorText(error)}`,
        { cause: error },
      );
    }
  }
}

/** The last lines of a log, for messages; empty if there are none. */
export async function tailOf(path: string, characters: number): Promise<string> {
  try {
    using file = await Deno.open(path);
    const { size } = await file.stat();
    await file.seek(Math.max(0, size - characters * 2), Deno.SeekMode.Start);
    const buffer = new Uint8Array(characters * 2);
    let length = 0;
    for (let n; (n = await file.read(buffer.subarray(length))) !== null;) {
      length += n;
      if (length === buffer.length) break;
    }
    const text = new TextDecoder().decode(buffer.subarray(0, length));
    // deno-lint-ignore no-control-regex -- a guest's console may hold anything
    return text.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "").trim().slice(-characters);
  } catch {
    return "";
  }
}
