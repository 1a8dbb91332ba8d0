/**
 * Starts keeper processes, from any program.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { helperPath, sharePath } from "../../ffi/library.ts";
import { makeFolder } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import {
  cachePackages,
  copyLock,
  ownCommand,
  ownLock,
  processFlags,
  type ProcessLock,
} from "../own_process.ts";
import { boxPaths } from "../runtime/paths.ts";
import { tailOf } from "../vmm/machine.ts";
import type { BoxContext } from "./context.ts";
import { firstLine } from "../vmm/first_line.ts";

const KEEPER_PROCESS = import.meta.resolve("../runtime/keeper_process.ts");
/** How long a keeper process may take until it keeps its box, in `ms`. */
const READY_MS = 60_000;
/** Text of its log that goes into an error, in characters. */
const LOG_TAIL = 2_000;
/** What a keeper process is to see of the environment, beside what begins with `HUTCH_`. */
const VARIABLES = [
  ...["HOME", "USER", "PATH", "TMPDIR", "LD_LIBRARY_PATH"],
  ...["DENO_DIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"],
];

/** What a keeper process prints first, as one line of JSON. */
export type KeeperReadyLine =
  /** It keeps the box. */
  | { readonly ready: true }
  /** Somebody else does. */
  | { readonly held: true }
  | { readonly error: string };

/**
 * Starts the keeper process of a box and waits until the box is kept, by it or by another.
 *
 * @throws HutchError `boot_failed`.
 */
export async function spawnKeeper(context: BoxContext, id: string): Promise<void> {
  const { paths, keepings } = context;
  const { folder } = boxPaths(paths, id);
  const { plugins } = keepings.of(id);
  const logPath = join(folder, "keeper.log");
  await makeFolder(folder);
  // What plugins import is in no lock file of ours.
  const lock = plugins.length > 0 ? await copyLock(join(folder, "packages.lock")) : ownLock();
  await cachePackages(KEEPER_PROCESS, lock);
  const own = ownCommand({
    role: "keeper",
    module: KEEPER_PROCESS,
    args: [paths.home, id, context.bootId, ...plugins],
    flags: keeperFlags(context, id, { plugins, lock }),
    folder,
  });
  const [program, ...args] = own.command;
  const log = openSync(logPath, "w", 0o600);
  const child = (() => {
    try {
      return spawn(program, args, {
        detached: true, // a session of its own: no terminal's end is its end
        stdio: ["ignore", "pipe", log],
        cwd: "/",
        env: { ...environment(plugins.length > 0), ...own.env },
      });
    } finally {
      closeSync(log);
    }
  })();
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
    child.once("error", () => resolve());
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), READY_MS);
  try {
    const { stdout } = child;
    const ready = parseReady(stdout ? await firstLine(stdout) : "");
    stdout?.destroy();
    if (child.pid !== undefined && ready && !("error" in ready)) return child.unref();
    child.kill("SIGKILL");
    await ended;
    const said = ready && "error" in ready ? ready.error : await tailOf(logPath, LOG_TAIL);
    throw new HutchError(
      "boot_failed",
      `Cannot start the box's keeper: ${said || "its process ended without a word"}`,
      { hint: `see ${logPath}` },
    );
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The flags of a keeper process. It may do what starting this box takes. With plugins nobody
 * knows what that is: then it may do what this program may.
 */
function keeperFlags(
  context: BoxContext,
  id: string,
  { plugins, lock }: {
    readonly plugins: readonly string[];
    readonly lock: ProcessLock | undefined;
  },
): string[] {
  const { home, sockets } = context.paths;
  const own = boxPaths(context.paths, id);
  const reached = [own.socketPath, own.controlPath, own.networkControlPath];
  const kinds: readonly (readonly [Deno.PermissionName, string])[] = [
    ["read", ""], // libraries and programs are looked for in many places
    ["write", `=${home},${sockets}`],
    ["net", `=${reached.map((path) => `unix:${path}`).join(",")}`],
    ["run", `=${Deno.execPath()},${sharePath()}`],
    ["ffi", `=${helperPath()}`],
    ["env", ""],
    ["sys", "=uid"],
  ];
  const allowed = kinds.map(([name, own]) => {
    const all = plugins.length > 0 && Deno.permissions.querySync({ name }).state === "granted";
    return `--allow-${name}${all ? "" : own}`;
  });
  return [...processFlags([KEEPER_PROCESS], lock), ...allowed];
}

/** Plugins may want any variable; else those that hutch itself knows. */
function environment(all: boolean): Record<string, string> {
  if (Deno.permissions.querySync({ name: "env" }).state !== "granted") {
    const pairs = VARIABLES.map((name) => [name, readable(name)] as const);
    return Object.fromEntries(pairs.filter(([, value]) => value !== ""));
  }
  const known = (name: string) => VARIABLES.includes(name) || name.startsWith("HUTCH_");
  return Object.fromEntries(
    Object.entries(Deno.env.toObject()).filter(([name]) => all || known(name)),
  );
}

function readable(variable: string): string {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) ?? "" : "";
}

function parseReady(line: string): KeeperReadyLine | undefined {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
