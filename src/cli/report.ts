/**
 * Errors for people, and their exit codes.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { printable } from "./format.ts";
import { OutputError } from "./io.ts";

/** hutch itself failed, the command line was wrong included. */
export const EXIT_HUTCH = 125;
/** Output's reader is gone: what a shell shows for a tool that SIGPIPE ended. */
export const EXIT_OUTPUT_CLOSED = 141;

/** The user interrupted hutch while it was at work. */
export class Interrupted extends Error {
  override readonly name: string = "Interrupted";
  /** Such as `SIGINT`. */
  readonly signal: Deno.Signal;

  /** Makes an error for a signal that ended the work. */
  constructor(signal: Deno.Signal) {
    super(`Cannot go on: hutch got ${signal}`);
    this.signal = signal;
  }
}

/** How a shell numbers the end by a signal: 128 and the signal's number on Linux and macOS. */
export const SIGNAL_EXIT: Readonly<Partial<Record<Deno.Signal, number>>> = {
  SIGHUP: 129,
  SIGINT: 130,
  SIGQUIT: 131,
  SIGKILL: 137,
  SIGPIPE: EXIT_OUTPUT_CLOSED,
  SIGTERM: 143,
};

/** hutch's exit code for an error, as Docker's command line has them. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof Interrupted) return SIGNAL_EXIT[error.signal] ?? EXIT_HUTCH;
  if (!(error instanceof HutchError)) return EXIT_HUTCH;
  switch (error.code) {
    case "command_not_executable":
      return 126;
    case "command_not_found":
      return 127;
    default:
      return EXIT_HUTCH;
  }
}

/**
 * An error as it is printed: one line `hutch: MESSAGE; HINT`, then whatever lines the message has
 * beyond its first (a console log's end), indented. With `debug`, the cause chain and stacks too.
 */
export function formatError(error: unknown, options: { debug: boolean }): string {
  const known = error instanceof HutchError || error instanceof Interrupted ||
    error instanceof OutputError;
  const message = error instanceof Error ? error.message || error.name : String(error);
  const [first = "", ...rest] = message.split("\n");
  let hint = error instanceof HutchError ? error.hint : undefined;
  if (!known) hint = "this is a bug in hutch" + (options.debug ? "" : "; run again with --debug");
  // Hints are clauses: several lines would break the one line an error has.
  let text = `hutch: ${printable(first)}`;
  if (hint) text += `; ${hint.split("\n").map(printable).join(" ")}`;
  text += "\n";
  for (const line of rest) if (line.trim() !== "") text += `  ${printable(line)}\n`;
  return options.debug ? text + formatChain(error) : text;
}

/** Stack and causes, deepest last; a cause seen before isn't followed again. */
function formatChain(error: unknown): string {
  let text = "";
  const seen = new Set<unknown>();
  const queue: { label: string; value: unknown }[] = [{ label: "error", value: error }];
  for (let item = queue.shift(); item; item = queue.shift()) {
    const { label, value } = item;
    if (value === undefined || seen.has(value)) continue;
    seen.add(value);
    const code = value instanceof HutchError ? ` (${value.code})` : "";
    const body = value instanceof Error ? value.stack ?? `${value.name}: ${value.message}` : value;
    const lines = String(body).split("\n");
    text += `  ${label}${code}: ${lines.map(printable).join("\n    ")}\n`;
    if (value instanceof AggregateError) {
      for (const inner of value.errors) queue.push({ label: "one of", value: inner });
    }
    if (value instanceof Error && value.cause !== undefined) {
      queue.push({ label: "caused by", value: value.cause });
    }
  }
  return text;
}
