/**
 * `hutch create`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { type BoxFlags, boxOptionsOf, defineBoxFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { defineProgressFlags } from "./progress_mode.ts";
import { createBox, relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE [COMMAND ARG...]")
    .argument("<IMAGE>", "image reference, such as debian:12")
    .argument("[COMMAND...]", "main command, which each start runs (default: none)")
    .passThroughOptions();
  defineBoxFlags(command);
  defineProgressFlags(command);
  command.option("--main", "let each start run the image's own command as the main command");
}

/** Records a box, the image pulled if it is missing, and prints its id. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [image = "", ...words], io } = invocation;
  const flags = command.opts<BoxFlags & { readonly main?: boolean }>();
  const options = await boxOptionsOf(image, flags, (name) => Deno.env.get(name));
  const main = words.length > 0 ? words : flags.main === true;
  using signals = relaySignals(io);
  await using runtime = await invocation.open();
  try {
    const asked = { ...options, main, detached: true, signal: signals.signal };
    const box = await createBox(runtime, asked, invocation);
    await print(io.stdout, `${box.id}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
