/**
 * `hutch run`.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import {
  attach,
  attachedExec,
  type AttachFlags,
  type Attachment,
  attachmentOf,
  defineAttachFlags,
  endUnless,
} from "./attachment.ts";
import { type BoxFlags, commandOf, defineBoxFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { defineLimitFlags, exitCodeOf, type LimitFlags, limitOptionsOf } from "./exec_flags.ts";
import { defineOrigin, mainOfAnother, makeBox, originOf } from "./from_flag.ts";
import { print } from "./io.ts";
import { defineProgressFlags } from "./progress_mode.ts";
import { formatError } from "./report.ts";
import { relaySignals, withRuntime } from "./session.ts";
import type { SignalRelay } from "./signals.ts";

interface Flags extends BoxFlags, LimitFlags, AttachFlags {
  readonly detach?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  defineOrigin(command, "program in the box and its arguments (default: the image's)");
  defineBoxFlags(command);
  defineLimitFlags(command);
  defineProgressFlags(command);
  command.option(
    "-d, --detach",
    "print the box's id and leave it running, with the command as its main command",
  );
  defineAttachFlags(command);
}

/** Makes a box, runs a command in it and ends it; the command's exit code is ours. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io } = invocation;
  const { origin, words } = originOf(invocation);
  const flags = command.opts<Flags>();
  const { timeoutMs, killAfterMs: _grace, ...limits } = limitOptionsOf(flags);
  if (flags.detach && timeoutMs !== undefined) {
    throw new HutchError(
      "invalid_option",
      "Cannot use --timeout with --detach: nobody waits for the command",
      { hint: "give the whole box a time (--max-duration)" },
    );
  }
  const attachment = await attachmentOf(flags.detach ? {} : flags, invocation);
  using signals = relaySignals(io);
  const detached = flags.detach === true;
  if (detached && "from" in origin && words.length > 0) throw mainOfAnother();
  const stdin = flags.interactive === true;
  try {
    return await withRuntime(invocation, async (runtime) => {
      const always = { detached, signal: signals.signal };
      if (detached) {
        const args = words.length > 0 ? { args: words } : { optional: true };
        const main = { ...limits, ...args, stdin };
        const extra = flags.initPath === undefined ? { main } : {};
        const box = await makeBox(runtime, invocation, { origin, flags, always, extra });
        return await startDetached(box, flags, invocation, signals);
      }
      const box = await makeBox(runtime, invocation, { origin, flags, always });
      return await runAttached(box, { words, flags, attachment }, invocation, signals);
    });
  } catch (error) {
    throw signals.explain(error);
  }
}

async function startDetached(
  box: Box,
  flags: Flags,
  invocation: Invocation,
  signals: SignalRelay,
): Promise<number> {
  try {
    await box.start({ detached: true, signal: signals.signal });
    signals.throwIfInterrupted();
  } catch (error) {
    await end(box, flags.rm === true, invocation);
    throw error;
  }
  await print(invocation.io.stdout, `${box.id}\n`);
  return 0;
}

async function runAttached(
  box: Box,
  { words, flags, attachment }: {
    readonly words: readonly string[];
    readonly flags: Flags;
    readonly attachment: Attachment;
  },
  invocation: Invocation,
  signals: SignalRelay,
): Promise<number> {
  const { io } = invocation;
  const [program, ...args] = commandOf(box.config, words);
  // Nobody could use a box that was refused before it began.
  let remove = true;
  let leave = false;
  try {
    if (program === undefined || program === "") {
      throw new HutchError(
        "invalid_option",
        `Cannot run ${JSON.stringify(box.config.image.reference)}: it names no command of its own`,
        { hint: "give a command after the image" },
      );
    }
    remove = flags.rm === true;
    await box.start({ signal: signals.signal });
    signals.throwIfInterrupted();
    await using execution = box.exec(program, args, {
      ...limitOptionsOf(flags),
      ...attachedExec(attachment, io),
      detached: attachment.keys.length > 0 && !remove,
    });
    await using held = endUnless(execution);
    const status = await attach(execution, {
      ...attachment,
      ...{ io, signals },
      force: () => box.kill(),
      detach: () =>
        remove ? `hutch: Cannot detach: box "${box.name}" goes when hutch does (--rm)` : true,
    });
    held.over = true;
    if (status !== "detached") return await exitCodeOf(status, flags, io);
    await box.detach();
    leave = true;
    await print(
      io.stderr,
      `hutch: Left it running; hutch attach -it ${box.name} ${execution.id}\n`,
    );
    return 0;
  } finally {
    // What comes from here on can't reach the command: it hurries the clean-up.
    signals.forwardTo(undefined);
    if (!leave) await end(box, remove, invocation);
  }
}

/** Ends the box; a failure is told but doesn't replace what the command's end said. */
async function end(box: Box, remove: boolean, { io, globals }: Invocation): Promise<void> {
  try {
    // Its command is gone, and with it what the rest was for: no grace for leftovers.
    if (remove) await box.remove({ force: true });
    else await box.stop({ timeoutMs: 0 });
  } catch (error) {
    // Killing a box that goes with its end has removed it already.
    if (error instanceof HutchError && error.code === "box_not_found") return;
    await print(io.stderr, formatError(error, globals));
  }
}
