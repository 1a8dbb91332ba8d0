/**
 * `hutch snapshot rm`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { EXIT_HUTCH, exitCodeOf, formatError } from "./report.ts";
import { getBox } from "./session.ts";

interface Flags {
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX SNAPSHOT...")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<SNAPSHOT...>", "names of its snapshots")
    .option("-f, --force", "don't mind those that aren't there")
    .option("--json", "an array of the names that went");
}

/** Removes snapshots and prints their names; what others share of them stays. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", ...names], io, globals, open } = invocation;
  const { force, json } = command.opts<Flags>();
  await using runtime = await open();
  const box = await getBox(runtime, word);
  const removed: string[] = [];
  let code = 0;
  for (const name of new Set(names)) {
    try {
      await box.snapshots.remove(name);
      removed.push(name);
      if (!json) await print(io.stdout, `${name}\n`);
    } catch (error) {
      if (!(error instanceof HutchError)) throw error;
      if (force && error.code === "snapshot_not_found") continue;
      await print(io.stderr, formatError(error, globals));
      if (code === 0) code = exitCodeOf(error) || EXIT_HUTCH;
    }
  }
  if (json) await printJson(io.stdout, "snapshot rm", removed);
  return code;
}
