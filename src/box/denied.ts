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
    if (!ending.signal.aborted) context.log(`network of box "${name}": ${errorText(error)}`);
  }
}
