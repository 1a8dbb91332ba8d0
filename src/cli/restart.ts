/**
 * `hutch restart`.
 *
 * @module
 */
import type { Invocation } from "./command.ts";
import { graceOf } from "./grace.ts";
import { eachBox, relaySignals } from "./session.ts";

export { defineGrace as define } from "./grace.ts";

/** Stops boxes and starts them; they go on when hutch ends. */
export async function run(invocation: Invocation): Promise<number> {
  const grace = graceOf(invocation.command);
  using signals = relaySignals(invocation.io);
  return await eachBox(invocation, async (box) => {
    signals.throwIfInterrupted();
    try {
      await box.restart({ ...grace, detached: true, signal: signals.signal });
    } catch (error) {
      throw signals.explain(error);
    }
  });
}
