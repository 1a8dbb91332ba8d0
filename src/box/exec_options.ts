/**
 * Options and results of commands in a box.
 *
 * @module
 */

import type { CapabilityChanges, Rlimits } from "./exec_limits.ts";

/** What a box's commands get where they don't say. */
export interface ExecDefaults {
  /** Image's and box's environment, merged. */
  readonly env: Readonly<Record<string, string>>;
  /** Working folder in the box. */
  readonly cwd: string;
  /** `name|uid[:group|gid]`; empty for root. */
  readonly user: string;
}

/** A terminal's size in characters, 1 to 65,535 each. */
export interface TerminalSize {
  /** Height in characters. */
  readonly rows: number;
  /** Width in characters. */
  readonly columns: number;
}

/** A terminal for a command. */
export interface TerminalOptions extends Partial<TerminalSize> {
  /**
   * What the command is told in `TERM`, unless its `env` says so.
   *
   * @default {the box's, else this program's; "xterm" if that is empty or `dumb`}
   */
  readonly term?: string;
}

/**
 * Options of `Box.exec`.
 *
 * @example Ended after a second, with few rights
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * const { timedOut, signal } = await box.exec("sleep", ["60"], {
 *   timeoutMs: 1000,
 *   rlimits: { nofile: 64, core: 0, cpu: { soft: 10, hard: "unlimited" } },
 *   capabilities: { drop: ["ALL"] },
 *   noNewPrivileges: true,
 * });
 * console.log(timedOut, signal); // true "SIGTERM"
 * ```
 */
export interface ExecOptions {
  /** Added to the box's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * Whether only `env` counts, not the image's and the box's. `HOME` is set all the same, `TERM`
   * where there is a terminal, and programs are looked up in Linux's usual folders.
   *
   * @default {false}
   */
  readonly clearEnv?: boolean;
  /** Working folder, absolute. @default {the box's} */
  readonly cwd?: string;
  /** `name|uid[:group|gid]`. @default {the box's} */
  readonly user?: string;
  /**
   * What the command reads: nothing, bytes or text given here, a stream, or what is written to
   * `Execution.stdin`. When the stream breaks the command is killed, and what waits for it rejects with
   * what the stream failed with; once the command has ended the stream is cancelled. @default {"null"}
   */
  readonly stdin?: "null" | "piped" | Uint8Array | string | ReadableStream<Uint8Array>;
  /**
   * A terminal as all three streams of the command, for programs that want one: it reads what is
   * written to `stdin` as typed, and all it prints comes on `stdout`, where lines end with `\r\n`.
   * The end of `stdin` is typed, too (Ctrl-D), where the command reads lines. `true` has 24 rows of
   * 80 columns; `Execution.resize` changes that.
   *
   * @default {false}
   */
  readonly tty?: boolean | TerminalOptions;
  /**
   * Kills the command, with its process group, when aborted; what waits for it rejects with
   * `cancelled`.
   */
  readonly signal?: AbortSignal;
  /**
   * How long the command may take by the box's clock, in `ms`, up to 2^31 - 1: after it TERM goes
   * to its process group, and KILL after `killAfterMs`. Its end says so in `timedOut`.
   *
   * @default {no limit}
   */
  readonly timeoutMs?: number;
  /** From TERM to KILL after a timeout, in `ms`, up to a day; 0 kills at once. @default {5000} */
  readonly killAfterMs?: number;
  /** Resource limits. @default {the box's: 1,024 open files, up to 1,048,576; else Linux's} */
  readonly rlimits?: Rlimits;
  /** Capabilities. @default {all for root, none for others} */
  readonly capabilities?: CapabilityChanges;
  /** Whether set-user-ID programs and file capabilities give nothing. @default {false} */
  readonly noNewPrivileges?: boolean;
  /**
   * Whether the command goes on when this program ends or lets go of it: `Execution.id` names it for
   * `Box.execution`. Its output goes to the box's log; what awaits or reads it here may be joined by
   * others, and whoever reads too slowly is told of what it missed (see {@link BoxExecution}). With
   * `signal`, and when the execution is disposed of, it is let go, not killed. @default {false}
   */
  readonly detached?: boolean;
  /** Limit of what awaiting the execution collects per stream, in bytes. @default {64 MiB} */
  readonly maxOutputBytes?: number;
}

/** How a command ended. */
export interface ExecStatus {
  /** Whether it ended with code 0. */
  readonly success: boolean;
  /** Exit code; 128 + signal number when a signal ended it. */
  readonly code: number;
  /** Name of the signal that ended it, or null. */
  readonly signal: string | null;
  /** Whether its `timeoutMs` was over before it ended. */
  readonly timedOut: boolean;
}

/** How a command ended, and all it printed. */
export interface ExecResult extends ExecStatus {
  /** Standard output, as UTF-8. */
  readonly stdout: string;
  /** Standard error, as UTF-8. */
  readonly stderr: string;
  /** What the command wrote to standard output, as it wrote it. */
  readonly stdoutBytes: Uint8Array<ArrayBuffer>;
  /** What the command wrote to standard error, as it wrote it. */
  readonly stderrBytes: Uint8Array<ArrayBuffer>;
}
