/**
 * `hutch rename`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX NAME")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<NAME>", "its new name")
    .option("--json", "an object with all that is known");
}

/** Gives a box another name, and prints it. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", name = ""], io, open } = invocation;
  const { json } = command.opts<{ readonly json?: boolean }>();
  await using runtime = await open();
  const box = await getBox(runtime, word);
  await box.rename(name);
  if (json) await printJson(io.stdout, "rename", await box.info());
  else await print(io.stdout, `${box.name}\n`);
  return 0;
}
