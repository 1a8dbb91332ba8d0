/**
 * `hutch stop`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { eachBox } from "./session.ts";
import { parseTimeMs } from "./values.ts";

interface Flags {
  /** In `ms`. */
  readonly time?: number;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...")
    .argument("<BOX...>", "names, ids or unique beginnings of ids")
    .option(
      "-t, --time <SECONDS>",
      "time to end in before the rest is killed (default: 10)",
      (text: string) => parseTimeMs(text, "--time"),
    );
}

/** Shuts boxes down. */
export async function run(invocation: Invocation): Promise<number> {
  const { time } = invocation.command.opts<Flags>();
  return await eachBox(
    invocation,
    (box) => box.stop(time === undefined ? {} : { timeoutMs: time }),
  );
}
