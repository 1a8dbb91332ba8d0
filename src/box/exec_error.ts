/**
 * The error for a command that ended badly.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { plainText } from "../guest/validate.ts";
import type { ExecStatus } from "./exec_options.ts";

/** Most of standard error that is kept, in UTF-16 units. */
const MOST_STDERR = 4096;
const MOST_COMMAND = 200;

/**
 * A command of `` box.sh`…` `` ended with another code than 0, by a signal, or after its time. Its
 * `code` is `command_failed`.
 *
 * @example
 * ```ts
 * import { CommandError, Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * try {
 *   await box.sh`cat /no/such`;
 * } catch (error) {
 *   if (!(error instanceof CommandError)) throw error;
 *   console.log(error.exitCode, error.stderr); // 1 "cat: can't open '/no/such': …"
 * }
 * ```
 */
export class CommandError extends HutchError {
  /** Tells it from other errors by name. */
  override readonly name: string = "CommandError";
  /** The command as it was run. */
  readonly command: string;
  /** Exit code; 128 + signal number when a signal ended it. */
  readonly exitCode: number;
  /** Name of the signal that ended it, or null. */
  readonly signal: string | null;
  /** Whether its time was over. */
  readonly timedOut: boolean;
  /** The end of what it said on standard error, 4,096 characters at most, as it came. */
  readonly stderr: string;

  /** For commands that ended; `stderr` may be longer than what is kept. */
  constructor(command: string, status: ExecStatus, stderr: string) {
    const shown = command.length > MOST_COMMAND ? `${command.slice(0, MOST_COMMAND)}…` : command;
    const tail = stderr.slice(-MOST_STDERR).toWellFormed();
    const last = plainText(tail.trimEnd().split("\n").at(-1) ?? "");
    const why = `${endOf(status)}${last === "" ? "" : ` (${last})`}`;
    super("command_failed", `Cannot run ${JSON.stringify(shown)}: ${why}`);
    this.command = command;
    this.exitCode = status.code;
    this.signal = status.signal;
    this.timedOut = status.timedOut;
    this.stderr = tail;
  }
}

function endOf({ code, signal, timedOut }: ExecStatus): string {
  if (timedOut) return "it took longer than it may";
  return signal === null ? `it ended with code ${code}` : `${signal} ended it`;
}
