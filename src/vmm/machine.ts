/**
 * Starts box processes and watches them, from the user's program.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { missingPart, sharePath } from "../../ffi/library.ts";
import { exists, writeAtomically } from "../atomic_file.ts";
import { FileLock } from "../file_lock.ts";
import { errorText, HutchError } from "../errors.ts";
import { cacheModules, cachePackages, ownCommand, processFlags } from "../own_process.ts";
import { asPermissionError, requirePermissions } from "../permissions.ts";
import type { EngineReport, MachineShare, MachineSpec } from "./engine.ts";
import { builtModule } from "./built_module.ts";
import { firstLine } from "./first_line.ts";
import { DETACH, type MachineFile, type ReadyLine, writeExitFile } from "./machine_file.ts";

const BOX_PROCESS = import.meta.resolve("./box_process.ts");
/** Longer than a program holds a dead one's lock, in `ms`. */
const MOMENT_MS = 5;
/** Text of a box process's log that goes into an error, in characters. */
const LOG_TAIL = 2_000;

/** A box process that this program started. */
export interface BoxProcess {
  readonly pid: number;
  /** What its network answered to its orders. */
  readonly answers: readonly string[];
  /** Resolves when it has ended, with how: `code 1`, `signal SIGKILL`. */
  ended(): Promise<string>;
  /** Lets it outlive this program. */
  detach(): void;
  /** Ends it and its machine at once. */
  kill(): void;
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

/** Options of {@link startBoxProcess}. */
export interface StartOptions {
  readonly file: Omit<MachineFile, "runnerModule">;
  readonly permissions: EngineReport["permissions"];
  readonly signal: AbortSignal;
  /** A line for its interceptor, kept out of `file`. */
  readonly secretLine?: string | undefined;
}

/**
 * Starts the box process of a machine and waits until it serves its sockets.
 *
 * @throws HutchError `boot_failed` when the engine can't start the machine, `part_missing`;
 * {@link OrderFailed}.
 */
export async function startBoxProcess(options: StartOptions): Promise<BoxProcess> {
  const file = { ...options.file, runnerModule: builtModule(options.file.runner) };
  const { folder } = file.spec;
  const filePath = join(folder, "machine.json");
  const logPath = join(folder, "box.log");
  await writeAtomically(filePath, JSON.stringify(file));
  const own = ownCommand({
    role: "box",
    module: builtModule(BOX_PROCESS),
    args: [filePath],
    flags: boxProcessFlags(file, options.permissions),
    folder,
  });
  const [program, ...args] = await prepared(file.spec, own.command);
  const { interceptor } = file.network ?? {};
  await cacheModules([BOX_PROCESS, file.runner]);
  if (interceptor) await cachePackages(interceptor.module, interceptor.lock);
  options.signal.throwIfAborted();
  const log = openSync(logPath, "w", 0o600);
  const child = (() => {
    try {
      return spawn(program, args, {
        detached: true, // a session of its own: the terminal's Ctrl-C is for the user's program
        stdio: ["pipe", "pipe", log],
        cwd: folder,
        env: { ...environment(), ...own.env },
      });
    } finally {
      closeSync(log);
    }
  })();
  const ended = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal ? `signal ${signal}` : `code ${code}`));
    child.once("error", (error) => resolve(errorText(error)));
  });
  const abort = () => child.kill("SIGTERM");
  options.signal.addEventListener("abort", abort, { once: true });
  const { stdin, stdout } = child;
  // A write to one that has just died must not end this program.
  stdin?.on("error", () => {});
  if (options.secretLine !== undefined) stdin?.write(`${options.secretLine}\n`);
  try {
    const line = stdout ? await firstLine(stdout) : "";
    options.signal.throwIfAborted();
    const ready = parseReady(line);
    if (child.pid === undefined || !ready || "error" in ready) {
      child.kill("SIGKILL");
      await ended;
      if (ready && "error" in ready && ready.order !== undefined) {
        throw new OrderFailed(ready.order, ready.answer ?? "");
      }
      const said = ready && "error" in ready ? ready.error : await tailOf(logPath, LOG_TAIL);
      throw new HutchError(
        "boot_failed",
        `Cannot start the machine: ${said || "its process ended without a word"}`,
        { hint: `see ${logPath}` },
      );
    }
    child.unref();
    stdout?.destroy();
    return {
      pid: child.pid,
      answers: ready.answers,
      ended() {
        try {
          child.ref(); // whoever waits keeps this program alive
        } catch {
          // It has just ended, which is yet to be told.
        }
        return ended;
      },
      detach() {
        stdin?.end(DETACH);
      },
      kill() {
        child.kill("SIGTERM");
      },
    };
  } catch (error) {
    child.kill("SIGTERM");
    stdin?.destroy();
    stdout?.destroy();
    await ended;
    throw error;
  } finally {
    options.signal.removeEventListener("abort", abort);
  }
}

/**
 * The command with its disks locked, in a mount namespace that has the shares; as it is when there are
 * none. The program that does so becomes the command: the process stays the same.
 */
async function prepared(
  { shares, locks = [] }: MachineSpec,
  command: readonly [string, ...string[]],
): Promise<readonly [string, ...string[]]> {
  const list = shares?.list ?? [];
  if (list.length === 0 && locks.length === 0) return command;
  const path = sharePath();
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
function boxProcessFlags(file: MachineFile, permissions: EngineReport["permissions"]): string[] {
  const { interceptor } = file.network ?? {};
  const writable = [
    file.spec.folder,
    file.socketPath,
    file.spec.channelPath,
    file.spec.controlPath,
    `${file.spec.controlPath}.own`,
    ...(file.spec.shares ? [file.spec.shares.socketPath] : []),
    ...(file.network ? [file.network.socketPath, file.network.controlPath] : []),
    ...(interceptor ? [interceptor.socketPath] : []),
  ].join(",");
  const ffi = [...permissions.ffi ?? [], file.library];
  const run = [
    ...permissions.run ?? [],
    ...interceptor ? [Deno.execPath()] : [],
  ];
  const { runner, runnerModule } = file;
  const modules = runnerModule.startsWith("file:") ? [fileURLToPath(runnerModule)] : [];
  const readable = [writable, ...runnerModule === runner ? modules.map(dirname) : modules].join(
    ",",
  );
  return [
    ...processFlags([BOX_PROCESS, runner]),
    "--v8-flags=--expose-gc", // see `giveMemoryBack`
    "--no-code-cache", // opening it takes longer than there is to gain
    `--allow-read=${readable}`,
    `--allow-write=${writable}`,
    `--allow-net=${
      [file.socketPath, file.spec.channelPath, `${file.spec.controlPath}.own`]
        .map((path) => `unix:${path}`).join(",")
    }`,
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
  // So it may be while some program, which has found it dead, takes its lock's file away.
  await new Promise((resolve) => setTimeout(resolve, MOMENT_MS));
  if (!isAlive(lockPath)) return;
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
