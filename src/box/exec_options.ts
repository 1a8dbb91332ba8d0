/**
 * Options and results of commands in a box.
 *
 * @module
 */

/** What a box's commands get where they don't say. */
export interface ExecDefaults {
  /** Image's and box's environment, merged. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** `name|uid[:group|gid]`; empty for root. */
  readonly user: string;
}

/** Options of `Box.exec`. */
export interface ExecOptions {
  /** Added to the box's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Working folder, absolute. @default {the box's} */
  readonly cwd?: string;
  /** `name|uid[:group|gid]`. @default {the box's} */
  readonly user?: string;
  /**
   * What the command reads: nothing, bytes or text given here, a stream, or what is written to
   * `Execution.stdin`. @default {"null"}
   */
  readonly stdin?: "null" | "piped" | Uint8Array | string | ReadableStream<Uint8Array>;
  /** Kills the command when aborted. */
  readonly signal?: AbortSignal;
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
}

/** How a command ended, and all it printed. */
export interface ExecResult extends ExecStatus {
  /** Standard output, as UTF-8. */
  readonly stdout: string;
  /** Standard error, as UTF-8. */
  readonly stderr: string;
  readonly stdoutBytes: Uint8Array<ArrayBuffer>;
  readonly stderrBytes: Uint8Array<ArrayBuffer>;
}
