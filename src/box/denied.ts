/**
 * Telling listeners what a box's network refuses.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import { networkEvents } from "../network/control.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxContext } from "./context.ts";
import type { BoxConfig } from "./options.ts";

/** How much later the end of a box may be noticed than that of its network, in `ms`. */
const MOMENT_MS = 2_000;

/** Emits `network.denied` and `secret.blocked` until the connection to the box is over; never rejects. */
export async function tellDenied(
  context: BoxContext,
  { id, name, network }: BoxConfig,
  over: Promise<void>,
): Promise<void> {
  if (network.mode === "none") return;
  const ending = new AbortController();
  void over.then(() => ending.abort());
  try {
    const path = boxPaths(context.paths, id).networkControlPath;
    for await (const event of networkEvents(path, ending.signal)) {
      const about = { box: id, name };
      if (event.kind === "denied") {
        context.plugins.emit("network.denied", { ...about, ...event.flow });
      } else context.plugins.emit("secret.blocked", { ...about, ...event.secret });
    }
  } catch (error) {
    if (await isOver(over)) return; // a network ends with its box, and may be noticed first
    context.log(`network of box "${name}": ${errorText(error)}`);
  }
}

/** Whether the connection to the box is over, or is so within a moment. */
async function isOver(over: Promise<void>): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), MOMENT_MS);
  void over.then(() => resolve(true));
  const ended = await promise;
  clearTimeout(timer);
  return ended;
}
