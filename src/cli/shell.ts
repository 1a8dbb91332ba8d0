/**
 * `hutch shell`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { attachmentOf } from "./attachment.ts";
import { defineExecFlags, type ExecFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { execAttached } from "./exec.ts";

interface Flags extends ExecFlags {
  readonly detachKeys?: string;
}

/** The box's bash if it has one, else its shell, in the same process. */
const SHELL = 'command -v bash >/dev/null 2>&1 && exec bash "$@"; exec sh "$@"';

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX [COMMAND...]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("[COMMAND...]", "what the shell is to run (default: what is typed)")
    .passThroughOptions();
  defineExecFlags(command);
  command.option("--detach-keys <KEYS>", "as of `hutch exec`");
}

/** Opens a shell in a box, started first if it isn't running; with a terminal where we have one. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", ...words], io } = invocation;
  const flags = command.opts<Flags>();
  const tty = io.stdin.isTerminal?.() === true && io.stdout.isTerminal();
  const attachment = await attachmentOf({ ...flags, interactive: true, tty }, invocation);
  // As ssh has it: one command line for the shell.
  const script = words.length === 0 ? [] : ["-c", words.join(" ")];
  return await execAttached(invocation, {
    word,
    argv: ["/bin/sh", "-c", SHELL, "sh", ...script],
    flags,
    attachment,
  });
}
