/**
 * `hutch attach`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { MAIN } from "../guest/held_messages.ts";
import { attach, type AttachFlags, attachmentOf, defineAttachFlags } from "./attachment.ts";
import type { Invocation } from "./command.ts";
import { relay } from "./relay.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags extends AttachFlags {
  readonly replay?: boolean;
  readonly sigProxy?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX [EXECUTION]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("[EXECUTION]", "what `hutch exec -d` printed (default: the main command)")
    .option("--no-replay", "only what is printed from now on")
    .option("--sig-proxy", "pass signals on to the command, instead of letting go of it");
  defineAttachFlags(command);
}

/** Shows what a command printed and prints, until it ends; its exit code is ours. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", id = MAIN], io } = invocation;
  const flags = command.opts<Flags>();
  const attachment = await attachmentOf(flags, invocation);
  const { stdin, tty } = attachment;
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, word);
      const { signal } = signals;
      await using execution = box.execution(id).attach({
        ...{ signal, tty },
        stdin: stdin ? "piped" : "null",
        replay: flags.replay !== false,
      });
      await execution.started;
      const force = () => execution[Symbol.asyncDispose]();
      if (!tty && !flags.sigProxy) return (await relay(execution, io, { stdin })).code;
      const detach = () => true as const;
      const end = await attach(execution, { ...attachment, io, signals, force, detach });
      return end === "detached" ? 0 : end.code;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
