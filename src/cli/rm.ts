/**
 * `hutch rm`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { eachBox } from "./session.ts";

interface Flags {
  readonly force?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...")
    .argument("<BOX...>", "names, ids or unique beginnings of ids")
    .option("-f, --force", "end boxes that run, too");
}

/** Removes boxes with all that is in them. */
export async function run(invocation: Invocation): Promise<number> {
  const { force } = invocation.command.opts<Flags>();
  return await eachBox(invocation, (box) => box.remove({ force: force === true }));
}
