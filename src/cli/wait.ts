/**
 * `hutch wait`.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { printable } from "./format.ts";
import { print } from "./io.ts";
import { exitCodeOf, formatError } from "./report.ts";
import { getBox, relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...").argument("<BOX...>", "names, ids or unique beginnings of ids");
}

/** Waits until no box named runs any more, and prints how each ended, as soon as it has. */
export async function run(invocation: Invocation): Promise<number> {
  const { args, io, globals } = invocation;
  using signals = relaySignals(io);
  await using runtime = await invocation.open();
  const codes = await Promise.all([...new Set(args)].map(async (word) => {
    try {
      const end = await ended(await getBox(runtime, word), signals.signal);
      await print(io.stdout, `${word} ${end}\n`);
      return 0;
    } catch (error) {
      if (signals.signal.aborted || !(error instanceof HutchError)) throw signals.explain(error);
      await print(io.stderr, formatError(error, globals));
      return exitCodeOf(error);
    }
  }));
  return codes.find((code) => code !== 0) ?? 0;
}

/** `stopped`, `stopped (3)` with its main command's exit code, `crashed: the guest ended by itself`; `removed` for a box that goes with its end. */
async function ended(box: Box, signal: AbortSignal): Promise<string> {
  try {
    const { status, reason, exitCode } = await box.wait({ signal });
    const how = exitCode === null ? status : `${status} (${exitCode})`;
    return reason === null ? how : `${how}: ${printable(reason)}`;
  } catch (error) {
    if (error instanceof HutchError && error.code === "box_not_found") return "removed";
    throw error;
  }
}
