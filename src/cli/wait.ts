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
import { type BoxEnd, printJsonLine } from "./json.ts";
import { exitCodeOf, formatError } from "./report.ts";
import { getBox, relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...")
    .argument("<BOX...>", "names, ids or unique beginnings of ids")
    .option("--json", "a JSON document per line");
}

/** Waits until no box named runs any more, and prints how each ended, as soon as it has. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args, io, globals } = invocation;
  const { json } = command.opts<{ readonly json?: boolean }>();
  using signals = relaySignals(io);
  await using runtime = await invocation.open();
  const codes = await Promise.all([...new Set(args)].map(async (word) => {
    try {
      const how = await ended(await getBox(runtime, word), signals.signal);
      if (json) await printJsonLine(io.stdout, "wait (line)", { box: word, ...how });
      else await print(io.stdout, `${word} ${endText(how)}\n`);
      return 0;
    } catch (error) {
      if (signals.signal.aborted || !(error instanceof HutchError)) throw signals.explain(error);
      await print(io.stderr, formatError(error, globals));
      return exitCodeOf(error);
    }
  }));
  return codes.find((code) => code !== 0) ?? 0;
}

type End = Omit<BoxEnd, "box">;

async function ended(box: Box, signal: AbortSignal): Promise<End> {
  try {
    const { status, reason, exitCode } = await box.wait({ signal });
    return { status, exitCode, reason };
  } catch (error) {
    if (error instanceof HutchError && error.code === "box_not_found") {
      return { status: "removed", exitCode: null, reason: null };
    }
    throw error;
  }
}

/** `stopped`, `stopped (3)` with its main command's exit code, `crashed: the guest ended by itself`. */
function endText({ status, exitCode, reason }: End): string {
  const how = exitCode === null ? status : `${status} (${exitCode})`;
  return reason === null ? how : `${how}: ${printable(reason)}`;
}
