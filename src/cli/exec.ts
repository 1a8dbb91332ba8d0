/**
 * `hutch exec`.
 *
 * @module
 */
import type { ExecOptions } from "../box/exec_options.ts";
import type { Command } from "../deps.ts";
import {
  attach,
  attachedExec,
  type AttachFlags,
  type Attachment,
  attachmentOf,
  defineAttachFlags,
} from "./attach.ts";
import { defineExecFlags, type ExecFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { readEnvironment } from "./env.ts";
import { defineLimitFlags, exitCodeOf, type LimitFlags, limitOptionsOf } from "./exec_flags.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags extends ExecFlags, LimitFlags, AttachFlags {}

/** What {@link execAttached} runs. */
export interface AttachedCommand {
  /** The box, as it was named. */
  readonly word: string;
  /** The program and its arguments. */
  readonly argv: readonly string[];
  readonly flags: ExecFlags & LimitFlags;
  readonly attachment: Attachment;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX COMMAND [ARG...]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<COMMAND>", "program in the box")
    .argument("[ARG...]", "its arguments, options included")
    .passThroughOptions();
  defineExecFlags(command);
  defineLimitFlags(command);
  defineAttachFlags(command);
}

/** Runs a command in a box, started first if it isn't running; its exit code is ours. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", ...argv] } = invocation;
  const flags = command.opts<Flags>();
  const attachment = await attachmentOf(flags, invocation);
  return await execAttached(invocation, { word, argv, flags, attachment });
}

/** Runs a command in a box on our own streams; gives its exit code. */
export async function execAttached(
  invocation: Invocation,
  { word, argv: [program = "", ...args], flags, attachment }: AttachedCommand,
): Promise<number> {
  const { io } = invocation;
  const options: ExecOptions = {
    ...limitOptionsOf(flags),
    env: await readEnvironment(flags.envFile ?? [], flags.env ?? [], (name) => Deno.env.get(name)),
    ...attachedExec(attachment, io),
    ...flags.workdir === undefined ? {} : { cwd: flags.workdir },
    ...flags.user === undefined ? {} : { user: flags.user },
  };
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, word);
      // Detached: what one exec started isn't ended under the next.
      await box.start({ detached: true, signal: signals.signal });
      signals.throwIfInterrupted();
      await using execution = box.exec(program, args, options);
      const end = await attach(execution, {
        ...attachment,
        ...{ io, signals },
        // The box isn't ours to end; the command's stream is.
        force: () => execution[Symbol.asyncDispose](),
        detach: () => "hutch: Cannot detach: the command would end with hutch",
      });
      return end === "detached" ? 0 : await exitCodeOf(end, flags, io);
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
