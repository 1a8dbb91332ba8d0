/**
 * What `hutch stop` and `hutch restart` take: boxes, and the time that their processes get to end.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { parseTimeMs } from "./values.ts";

interface Flags {
  /** In `ms`. */
  readonly time?: number;
}

/** Declares the boxes and `--time`. */
export function defineGrace(command: Command): void {
  command.usage("[options] BOX...")
    .argument("<BOX...>", "names, ids or unique beginnings of ids")
    .option(
      "-t, --time <SECONDS>",
      "time to end in before the rest is killed (default: 10)",
      (text: string) => parseTimeMs(text, "--time"),
    );
}

/** The time that was given, as an option of `Box.stop`. */
export function graceOf(command: Command): { readonly timeoutMs?: number } {
  const { time } = command.opts<Flags>();
  return time === undefined ? {} : { timeoutMs: time };
}
