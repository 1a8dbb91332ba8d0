/**
 * `hutch inspect`.
 *
 * @module
 */
import type { BoxInfo } from "../box/options.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { exitCodeOf, formatError } from "./report.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...").argument("<BOX...>", "names, ids or unique beginnings of ids");
}

/** Prints a `BoxInfo`; several boxes give an array of those that were found. */
export async function run({ args, io, globals, open }: Invocation): Promise<number> {
  await using runtime = await open();
  const found: BoxInfo[] = [];
  let code = 0;
  for (const word of args) {
    try {
      found.push(await (await getBox(runtime, word)).info());
    } catch (error) {
      if (!(error instanceof HutchError)) throw error;
      await print(io.stderr, formatError(error, globals));
      code = exitCodeOf(error);
    }
  }
  if (args.length > 1) await printJson(io.stdout, "inspect", found);
  else if (found[0]) await printJson(io.stdout, "inspect", found[0]);
  return code;
}
