/**
 * `hutch pause`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { eachBox } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...").argument("<BOX...>", "names, ids or unique beginnings of ids");
}

/** Lets boxes stand still. */
export async function run(invocation: Invocation): Promise<number> {
  return await eachBox(invocation, (box) => box.pause());
}
