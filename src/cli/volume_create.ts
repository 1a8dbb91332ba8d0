/**
 * `hutch volume create`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { collect, parseLabels } from "./values.ts";

interface Flags {
  readonly label?: readonly string[];
  readonly size?: string;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] [NAME]")
    .argument("[NAME]", "the volume's name (default: made up)")
    .option("-l, --label <KEY=VALUE>", "label of the volume (repeatable)", collect)
    .option("--size <SIZE>", "make a disk that holds this much, such as 10g (default: a folder)")
    .option("--json", "an object with all that is known");
}

/** Makes a volume, unless it is there, and prints its name. */
export async function run({ command, args: [name], io, open }: Invocation): Promise<number> {
  const { label = [], size, json } = command.opts<Flags>();
  const labels = parseLabels(label, "--label");
  await using runtime = await open();
  const volume = await runtime.volumes.create({
    labels,
    ...name === undefined ? {} : { name },
    ...size === undefined ? {} : { size },
  });
  if (json) await printJson(io.stdout, "volume create", volume);
  else await print(io.stdout, `${volume.name}\n`);
  return 0;
}
