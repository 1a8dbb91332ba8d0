/**
 * `hutch snapshot diff`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { formatBytes } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX SNAPSHOT [OTHER]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<SNAPSHOT>", "name of one of its snapshots")
    .argument("[SNAPSHOT]", "name of another one (default: the box as it is)")
    .option("--json", "an object with the numbers");
}

/** Tells how many blocks were written to. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", from = "", to], io, open } = invocation;
  const { json } = command.opts<{ readonly json?: boolean }>();
  await using runtime = await open();
  const diff = await (await getBox(runtime, word)).snapshots.diff(from, { to });
  if (json) await printJson(io.stdout, "snapshot diff", diff);
  else await print(io.stdout, `${diff.blocks} blocks, ${formatBytes(diff.bytes)}\n`);
  return 0;
}
