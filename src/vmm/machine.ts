/**
 * Starts box processes and watches them, from the user's program.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { writeAtomically } from "../atomic_file.ts";
import { FileLock } from "../file_lock.ts";
import { errorText, HutchError } from "../errors.ts";
import type { EngineReport } from "./engine.ts";
import { DETACH, type MachineFile, type ReadyLine } from "./machine_file.ts";

/** Longest first line that a box process may print, in characters. */
const READY_LIMIT = 16 * 1024;
/** Text of a box process's log that goes into an error, in characters. */
const LOG_TAIL = 2_000;

/** A box process that this program started. */
export interface BoxProcess {
  readonly pid: number;
  /** Resolves when it has ended, however. */
  ended(): Promise<void>;
  /** Lets it outlive this program. */
  detach(): void;
  /** Ends it and its machine at once. */
  kill(): void;
}

/** Options of {@link startBoxProcess}. */
export interface StartOptions {
  readonly file: MachineFile;
  readonly permissions: EngineReport["permissions"];
  readonly signal: AbortSignal;
}

/**
 * Starts the box process of a machine and waits until it serves its sockets.
 *
 * @throws HutchError `boot_failed` when the engine can't start the machine.
 */
export async function startBoxProcess(options: StartOptions): Promise<BoxProcess> {
  const { file } = options;
  const { folder } = file.spec;
  const filePath = join(folder, "machine.json");
  const logPath = join(folder, "box.log");
  await writeAtomically(filePath, JSON.stringify(file));
  options.signal.throwIfAborted();
  const log = openSync(logPath, "w", 0o600);
  const child = (() => {
    try {
      return spawn(Deno.execPath(), boxProcessArguments(options, filePath), {
        detached: true, // a session of its own: the terminal's Ctrl-C is for the user's program
        stdio: ["pipe", "pipe", log],
        cwd: folder,
        env: environment(),
      });
    } finally {
      closeSync(log);
    }
  })();
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const abort = () => child.kill("SIGTERM");
  options.signal.addEventListener("abort", abort, { once: true });
  const { stdin, stdout } = child;
  // A write to one that has just died must not end this program.
  stdin?.on("error", () => {});
  try {
    const line = stdout ? await firstLine(stdout) : "";
    options.signal.throwIfAborted();
    const ready = parseReady(line);
    if (child.pid === undefined || !ready || "error" in ready) {
      child.kill("SIGKILL");
      await ended;
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
      ended() {
        child.ref(); // whoever waits keeps this program alive
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
 * The command line of a box process. It gets what its machine needs and nothing else: the box's
 * own files, the engine's programs and libraries.
 */
function boxProcessArguments(options: StartOptions, filePath: string): string[] {
  const { file, permissions } = options;
  const writable = [
    file.spec.folder,
    file.socketPath,
    file.spec.channelPath,
  ].join(",");
  const { run = [], ffi = [] } = permissions;
  const readable = file.runner.startsWith("file:")
    ? `${writable},${dirname(fileURLToPath(file.runner))}`
    : writable;
  return [
    "run",
    ...["--quiet", "--no-prompt", "--no-config", "--no-lock", "--cached-only"],
    `--allow-read=${readable}`,
    `--allow-write=${writable}`,
    `--allow-net=unix:${file.socketPath},unix:${file.spec.channelPath}`,
    ...(run.length > 0 ? [`--allow-run=${run.join(",")}`] : []),
    ...(ffi.length > 0 ? [`--allow-ffi=${ffi.join(",")}`] : []),
    import.meta.resolve("./box_process.ts"),
    filePath,
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

function firstLine(stream: Readable): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const done = () => {
      stream.removeAllListeners("data");
      resolve(text.split("\n", 1)[0] ?? "");
    };
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      text += chunk;
      if (text.includes("\n") || text.length > READY_LIMIT) done();
    });
    stream.once("end", done);
    stream.once("error", done);
    stream.once("close", done);
  });
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

/** Waits until the box process has ended, whoever started it. */
export async function untilEnded(lockPath: string): Promise<void> {
  try {
    using _lock = await FileLock.acquire(lockPath);
  } catch (error) {
    // The box's folder was removed: then nothing lives in it.
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Ends a box process and its machine at once. */
export async function killBoxProcess(pid: number, lockPath: string): Promise<void> {
  if (!isAlive(lockPath)) return; // the number may be somebody else's by now
  signalProcess(pid, "SIGTERM"); // it ends its machine and says so in its exit file
  const timer = setTimeout(() => {
    if (isAlive(lockPath)) signalProcess(pid, "SIGKILL");
  }, 2_000);
  try {
    await untilEnded(lockPath);
  } finally {
    clearTimeout(timer);
  }
}

function signalProcess(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
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
