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
  endUnless,
} from "./attachment.ts";
import { defineExecFlags, type ExecFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { readEnvironment } from "./env.ts";
import { defineLimitFlags, exitCodeOf, type LimitFlags, limitOptionsOf } from "./exec_flags.ts";
import { print } from "./io.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags extends ExecFlags, LimitFlags, AttachFlags {
  readonly detach?: boolean;
}

/** What {@link execAttached} runs. */
export interface AttachedCommand {
  /** The box, as it was named. */
  readonly word: string;
  /** The program and its arguments. */
  readonly argv: readonly string[];
  readonly flags: ExecFlags & LimitFlags;
  readonly attachment: Attachment;
  /** Whether to leave it at once. @default {false} */
  readonly detach?: boolean;
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
  command.option("-d, --detach", "print an id and leave the command running (see `hutch attach`)");
  defineAttachFlags(command);
}

/** Runs a command in a box, started first if it isn't running; its exit code is ours. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", ...argv] } = invocation;
  const flags = command.opts<Flags>();
  const { detach = false, interactive: stdin = false, tty = false } = flags;
  const attachment = detach ? { stdin, tty, keys: [] } : await attachmentOf(flags, invocation);
  return await execAttached(invocation, { word, argv, flags, attachment, detach });
}

/** Runs a command in a box on our own streams; gives its exit code. */
export async function execAttached(
  invocation: Invocation,
  { word, argv: [program = "", ...args], flags, attachment, detach = false }: AttachedCommand,
): Promise<number> {
  const { io } = invocation;
  const options: ExecOptions = {
    ...limitOptionsOf(flags),
    env: await readEnvironment(flags.envFile ?? [], flags.env ?? [], (name) => Deno.env.get(name)),
    ...attachedExec(attachment, io),
    // Where keys let go of it, it is the box's, which ends it no more than we do.
    detached: detach || attachment.keys.length > 0,
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
      if (detach) {
        await execution.started;
        await print(io.stdout, `${execution.id}\n`);
        return 0;
      }
      await using held = endUnless(execution);
      const end = await attach(execution, {
        ...attachment,
        ...{ io, signals },
        // The box isn't ours to end; the command's stream is.
        force: () => held.end(),
        detach: () => true,
      });
      held.over = true;
      if (end !== "detached") return await exitCodeOf(end, flags, io);
      await print(
        io.stderr,
        `hutch: Left it running; hutch attach -it ${box.name} ${execution.id}\n`,
      );
      return 0;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
