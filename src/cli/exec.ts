/**
 * `hutch exec`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { defineExecFlags, type ExecFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { readEnvironment } from "./env.ts";
import { defineLimitFlags, exitCodeOf, type LimitFlags, limitOptionsOf } from "./exec_flags.ts";
import { print } from "./io.ts";
import { relay } from "./relay.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags extends ExecFlags, LimitFlags {
  readonly interactive?: boolean;
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
  command
    .option("-d, --detach", "print an id and leave the command running (see `hutch attach`)")
    .option("-i, --interactive", "connect standard input; with --detach, leave it open");
}

/** Runs a command in a box, started first if it isn't running; its exit code is ours. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [word = "", program = "", ...args], io } = invocation;
  const flags = command.opts<Flags>();
  const env = await readEnvironment(
    flags.envFile ?? [],
    flags.env ?? [],
    (name) => Deno.env.get(name),
  );
  const limits = limitOptionsOf(flags);
  using signals = relaySignals(io);
  const stdin = flags.interactive === true;
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, word);
      // Detached: what one exec started isn't ended under the next.
      await box.start({ detached: true, signal: signals.signal });
      signals.throwIfInterrupted();
      await using execution = box.exec(program, args, {
        ...limits,
        env,
        stdin: stdin ? "piped" : "null",
        detached: flags.detach === true,
        ...flags.workdir === undefined ? {} : { cwd: flags.workdir },
        ...flags.user === undefined ? {} : { user: flags.user },
      });
      if (flags.detach) {
        await execution.started;
        await print(io.stdout, `${execution.id}\n`);
        return 0;
      }
      signals.forwardTo({
        kill: (signal) => execution.kill(signal),
        // The box isn't ours to end; the command's stream is.
        force: () => execution[Symbol.asyncDispose](),
      });
      return await exitCodeOf(await relay(execution, io, { stdin }), flags, io);
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
