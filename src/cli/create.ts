/**
 * `hutch create`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { type BoxFlags, defineBoxFlags } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { defineOrigin, mainOfAnother, makeBox, originOf } from "./from_flag.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { defineProgressFlags } from "./progress_mode.ts";
import { relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  defineOrigin(command, "main command, which each start runs (default: none)");
  defineBoxFlags(command);
  defineProgressFlags(command);
  command.option("--main", "let each start run the image's own command as the main command")
    .option("--json", "an object with all that is known");
}

/** Records a box, the image pulled if it is missing, and prints its id. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io } = invocation;
  const { origin, words } = originOf(invocation);
  const flags = command.opts<BoxFlags & { readonly main?: boolean; readonly json?: boolean }>();
  const main = words.length > 0 ? words : flags.main === true;
  if ("from" in origin && main !== false) throw mainOfAnother();
  using signals = relaySignals(io);
  await using runtime = await invocation.open();
  try {
    const always = { detached: true, signal: signals.signal };
    const box = await makeBox(runtime, invocation, { origin, flags, always, extra: { main } });
    if (flags.json) await printJson(io.stdout, "create", await box.info());
    else await print(io.stdout, `${box.id}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
