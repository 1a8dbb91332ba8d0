/**
 * `hutch image inspect`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { ImageDetails } from "../images/manage/details.ts";
import type { Invocation } from "./command.ts";
import { eachWord } from "./each_word.ts";
import { printJson } from "./json.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE...")
    .argument("<IMAGE...>", "names, digests or unique beginnings of digests");
}

/** Prints an `ImageDetails`; several images give an array of those that were found. */
export async function run(invocation: Invocation): Promise<number> {
  const { args, io } = invocation;
  const found: ImageDetails[] = [];
  const code = await eachWord(invocation, async ({ images }, word) => {
    found.push(await images.inspect(word));
  });
  if (new Set(args).size > 1) await printJson(io.stdout, "image inspect", found);
  else if (found[0]) await printJson(io.stdout, "image inspect", found[0]);
  return code;
}
