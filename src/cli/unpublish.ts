/**
 * `hutch unpublish`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX PORTS...")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<PORTS...>", "[HOSTIP:][HOSTPORT:]PORT[/tcp|udp] of those that inspect shows");
}

/** Closes ports of this machine to a box that runs; connections that are there stay. */
export async function run({ args: [word = "", ...specs], open }: Invocation): Promise<number> {
  await using runtime = await open();
  const box = await getBox(runtime, word);
  for (const spec of specs) await box.unpublish(spec);
  return 0;
}
