/**
 * `hutch publish`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { formatPort, type PublishedPort } from "../network/ports.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX PORTS...")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument(
      "<PORTS...>",
      "[HOSTIP:][HOSTPORT:]PORT[/tcp|udp], also ranges, as -p of run has them",
    )
    .option("--json", "an array of the ports that were opened");
}

/** Opens ports of this machine to a box that runs, and prints them. */
export async function run({ command, args, io, open }: Invocation): Promise<number> {
  const [word = "", ...specs] = args;
  await using runtime = await open();
  const box = await getBox(runtime, word);
  const { json } = command.opts<{ readonly json?: boolean }>();
  const opened: PublishedPort[] = [];
  try {
    for (const spec of specs) {
      const ports = await box.publish(spec);
      opened.push(...ports);
      if (!json) await print(io.stdout, ports.map((port) => `${formatPort(port)}\n`).join(""));
    }
  } finally {
    if (json) await printJson(io.stdout, "publish", opened);
  }
  return 0;
}
