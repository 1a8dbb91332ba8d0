/**
 * `hutch image tag`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE NAME")
    .argument("<IMAGE>", "name, digest or unique beginning of a digest")
    .argument("<NAME>", "another name, such as team/base:1");
}

/** Gives an image another name. */
export async function run({ args: [image = "", name = ""], open }: Invocation): Promise<number> {
  await using runtime = await open();
  await runtime.images.tag(image, name);
  return 0;
}
