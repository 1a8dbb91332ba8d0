/**
 * What a box process is told, and what it leaves behind: its plan, which is its argument, and two small
 * JSON files in the box's folder.
 *
 * @module
 */
import type { ProcessLock } from "../own_process.ts";
import type { EngineParts, MachineSpec } from "./engine.ts";
import type { MainExit } from "./exit_payload.ts";
import type { LogLimits } from "./log_files.ts";
import type { Limits } from "./limits.ts";

/**
 * What a box process starts with, as JSON: enough for all that doesn't depend on the machine to be made
 * ready, while others are still making what the machine needs.
 */
export interface BoxProcessPlan {
  /** The box's own folder. */
  readonly folder: string;
  /** The library with the relay, and what confines the box process. */
  readonly library: string;
  /** URL of the engine's runner module. */
  readonly runner: string;
  /** {@link MachineSpec.engine}. */
  readonly engine: EngineParts;
  /** Unix socket on which the box process serves clients. */
  readonly socketPath: string;
  /** {@link MachineSpec.channelPath}. */
  readonly channelPath: string;
  /** {@link MachineSpec.controlPath}. */
  readonly controlPath: string;
  /** {@link MachineSpec.consolePath}. */
  readonly consolePath: string;
  /** Where the volumes are served; undefined for a machine without any. */
  readonly sharesSocketPath?: string | undefined;
  /** Held by the box process as long as it lives. */
  readonly lockPath: string;
  /** Where it says how the machine ended. */
  readonly exitPath: string;
  /** The box's log: its folder, and how much of it is kept. */
  readonly log: LogLimits & { readonly folder: string };
  /** The program that is the machine's network; undefined for a machine without one. */
  readonly network?: MachineNetworkProcess | undefined;
}

/** The machine, written by the starting program, read by the box process once it is told to. */
export interface MachineFile {
  readonly spec: MachineSpec;
  /** {@link BoxProcessPlan.runner}, by which its engine is known. */
  readonly runner: string;
  readonly limits: Limits;
  /** Whether its program was started beside. */
  readonly beside: boolean;
  /** What its network is told before the machine starts; see `ffi/net/control.h`. */
  readonly orders: readonly string[];
}

/** Where a box's machine is written. */
export function machineFilePath(folder: string): string {
  return `${folder}/machine.json`;
}

/** How the box process starts a network. */
export interface MachineNetworkProcess {
  readonly program: string;
  /** Where it listens for the machine's network device. */
  readonly socketPath: string;
  /** Where it listens for orders. */
  readonly controlPath: string;
  /** The device's, such as `52:48:55:54:43:02`. */
  readonly macAddress: string;
  /** Started before it is told anything, for a box with secrets. */
  readonly interceptor?: MachineInterceptor | undefined;
}

/** How the box process starts an interceptor, whose input comes as a line on its own standard input. */
export interface MachineInterceptor {
  /** URL of its module. */
  readonly module: string;
  /** Lock file of its packages. */
  readonly lock?: ProcessLock | undefined;
  /** Where it listens for connections. */
  readonly socketPath: string;
  /** Where the network listens for orders. */
  readonly controlPath: string;
}

/** Why a machine ended. */
export type ExitReason =
  | "shutdown" // asked for
  | "killed" // asked for, without the guest's help
  | "creator" // the program it was attached to ended
  | "main" // its main command ended
  | "limit" // its longest life or its idle time ended
  | "guest" // the guest ended by itself
  | "protocol" // the guest broke the protocol
  | "engine"; // the engine failed

/** Written by the box process as the last thing. */
export interface ExitFile {
  readonly reason: ExitReason;
  /** One line for people; may be empty. */
  readonly message: string;
  /** ISO 8601. */
  readonly at: string;
  /** How its main command ended, if it had one that did. */
  readonly main?: MainExit;
}

const REASONS: readonly string[] = [
  "shutdown",
  "killed",
  "creator",
  "main",
  "limit",
  "guest",
  "protocol",
  "engine",
] satisfies ExitReason[];

/** What the box process left, or undefined if it was killed before it could. */
export function readExitFile(path: string): ExitFile | undefined {
  try {
    const read = JSON.parse(Deno.readTextFileSync(path));
    return REASONS.includes(read?.reason) && typeof read.message === "string" &&
        typeof read.at === "string" && (read.main === undefined || isMainExit(read.main))
      ? read
      : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isMainExit(value: unknown): value is MainExit {
  if (typeof value !== "object" || value === null) return false;
  const { code, signal }: Readonly<Record<string, unknown>> = { ...value };
  return (code === null || typeof code === "number") &&
    (signal === null || typeof signal === "string");
}

/** What a machine leaves that ends now. */
export function exitNow(reason: ExitReason, message = ""): ExitFile {
  return { reason, message, at: new Date().toISOString() };
}

/**
 * Says how a machine ends, unless that has been said: the first reason counts. One call, since the
 * machine may end at any moment; a file that isn't whole reads as none.
 */
export function writeExitFile(
  path: string,
  reason: ExitReason,
  { message = "", main }: { readonly message?: string; readonly main?: MainExit | undefined } = {},
): void {
  const file: ExitFile = { ...exitNow(reason, message), ...main ? { main } : {} };
  try {
    Deno.writeTextFileSync(path, JSON.stringify(file), { createNew: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

/** What the box process prints first, as one line of JSON on its standard output. */
export type ReadyLine =
  /** With the network's answers to its orders. */
  | { readonly ready: true; readonly answers: readonly string[] }
  /** With the order that the network refused, and its answer, if that was it. */
  | { readonly error: string; readonly order?: number; readonly answer?: string };

/** A line to the box process's standard input: its machine's file is there. The input's end before ends it. */
export const START = "S";
/** Written there later: from now on its creator's end doesn't end it. */
export const DETACH = "D";
