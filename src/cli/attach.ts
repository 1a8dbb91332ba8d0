/**
 * `hutch attach`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { MAIN } from "../guest/held_messages.ts";
import type { Invocation } from "./command.ts";
import { relay } from "./relay.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags {
  readonly interactive?: boolean;
  readonly replay?: boolean;
  readonly sigProxy?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX [EXECUTION]")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("[EXECUTION]", "what `hutch exec -d` printed (default: the main command)")
    .option("-i, --interactive", "connect standard input; its end is the command's")
    .option("--no-replay", "only what is printed from now on")
    .option("--sig-proxy", "pass signals on to the command, instead of letting go of it");
}

/** Shows what a command printed and prints, until it ends; its exit code is ours. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", id = MAIN], io } = invocation;
  const flags = command.opts<Flags>();
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, word);
      const stdin = flags.interactive === true;
      const { signal } = signals;
      await using execution = box.execution(id).attach({
        signal,
        stdin: stdin ? "piped" : "null",
        replay: flags.replay !== false,
      });
      await execution.started;
      if (flags.sigProxy) {
        signals.forwardTo({
          kill: (name) => execution.kill(name),
          force: () => execution[Symbol.asyncDispose](),
        });
      }
      return (await relay(execution, io, { stdin })).code;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
