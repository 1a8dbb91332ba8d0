/**
 * What the commands that take several names share.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { EXIT_HUTCH, exitCodeOf, formatError } from "./report.ts";

/**
 * Does something with each thing named. A failure is reported and doesn't keep the others from their
 * turn.
 *
 * @returns hutch's exit code: 0, or that of the first failure.
 */
export async function eachWord(
  { open, io, globals, args }: Invocation,
  action: (runtime: Runtime, word: string) => Promise<void>,
): Promise<number> {
  await using runtime = await open();
  let code = 0;
  for (const word of new Set(args)) {
    try {
      await action(runtime, word);
    } catch (error) {
      if (!(error instanceof HutchError)) throw error;
      await print(io.stderr, formatError(error, globals));
      if (code === 0) code = exitCodeOf(error) || EXIT_HUTCH;
    }
  }
  return code;
}
