/**
 * `hutch snapshot restore`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";

interface Flags {
  readonly stop?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX SNAPSHOT")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<SNAPSHOT>", "name of one of its snapshots")
    .option("--stop", "stop the box first if it runs")
    .option("-f, --force", "drop what the disk has now (default: a snapshot of it is taken)")
    .option("--json", "an object with what was done");
}

/** Restores a snapshot, and tells the name of the one that has what was before. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", name = ""], io, open } = invocation;
  const { stop, force, json } = command.opts<Flags>();
  await using runtime = await open();
  const box = await getBox(runtime, word);
  const done = await box.snapshots.restore(name, { stop: stop === true, force: force === true });
  if (json) await printJson(io.stdout, "snapshot restore", done);
  else if (done.safety) await print(io.stdout, `${done.safety.name}\n`);
  return 0;
}
