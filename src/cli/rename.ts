/**
 * `hutch rename`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX NAME")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<NAME>", "its new name");
}

/** Gives a box another name, and prints it. */
export async function run({ args: [word = "", name = ""], io, open }: Invocation): Promise<number> {
  await using runtime = await open();
  const box = await getBox(runtime, word);
  await box.rename(name);
  await print(io.stdout, `${box.name}\n`);
  return 0;
}
