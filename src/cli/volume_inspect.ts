/**
 * `hutch volume inspect`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { VolumeInfo } from "../runtime/volumes.ts";
import type { Invocation } from "./command.ts";
import { eachWord } from "./each_word.ts";
import { printJson } from "./json.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] VOLUME...").argument("<VOLUME...>", "names of volumes");
}

/** Prints a `VolumeInfo`; several volumes give an array of those that were found. */
export async function run(invocation: Invocation): Promise<number> {
  const { args, io } = invocation;
  const found: VolumeInfo[] = [];
  const code = await eachWord(invocation, async ({ volumes }, name) => {
    found.push(await volumes.get(name));
  });
  if (new Set(args).size > 1) await printJson(io.stdout, "volume inspect", found);
  else if (found[0]) await printJson(io.stdout, "volume inspect", found[0]);
  return code;
}
