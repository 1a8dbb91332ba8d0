/**
 * `hutch start`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { eachBox, relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...").argument("<BOX...>", "names, ids or unique beginnings of ids");
}

/** Boots boxes that go on when hutch ends. */
export async function run(invocation: Invocation): Promise<number> {
  using signals = relaySignals(invocation.io);
  return await eachBox(invocation, async (box) => {
    signals.throwIfInterrupted();
    try {
      await box.start({ detached: true, signal: signals.signal });
    } catch (error) {
      throw signals.explain(error);
    }
  });
}
