/**
 * `hutch volume rm`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { eachWord } from "./each_word.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";

interface Flags {
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] VOLUME...")
    .argument("<VOLUME...>", "names of volumes")
    .option("-f, --force", "don't mind those that aren't there")
    .option("--json", "an array of the names that went");
}

/** Removes volumes with what is in them, and prints their names; never those that boxes have. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io } = invocation;
  const { force, json } = command.opts<Flags>();
  const removed: string[] = [];
  const code = await eachWord(invocation, async ({ volumes }, name) => {
    try {
      await volumes.remove(name);
    } catch (error) {
      if (force && error instanceof HutchError && error.code === "volume_not_found") return;
      throw error;
    }
    removed.push(name);
    if (!json) await print(io.stdout, `${name}\n`);
  });
  if (json) await printJson(io.stdout, "volume rm", removed);
  return code;
}
