/**
 * `hutch publish`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { formatPort } from "../network/ports.ts";
import { print } from "./io.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX PORTS...")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument(
      "<PORTS...>",
      "[HOSTIP:][HOSTPORT:]PORT[/tcp|udp], also ranges, as -p of run has them",
    );
}

/** Opens ports of this machine to a box that runs, and prints them. */
export async function run({ args, io, open }: Invocation): Promise<number> {
  const [word = "", ...specs] = args;
  await using runtime = await open();
  const box = await getBox(runtime, word);
  for (const spec of specs) {
    for (const port of await box.publish(spec)) await print(io.stdout, `${formatPort(port)}\n`);
  }
  return 0;
}
