/**
 * `--from BOX/SNAPSHOT`, which takes the place of an image in `run` and `create`.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { FromOptions } from "../box/from_options.ts";
import type { BoxOptions } from "../box/options.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { type BoxFlags, boxOptionsOf } from "./box_flags.ts";
import type { Invocation } from "./command.ts";
import { createBox } from "./session.ts";

/** The option. */
export interface FromFlags {
  readonly from?: string;
}

/** What a box is to be made of. */
export type Origin = { readonly image: string } | { readonly from: string };

/** Declares the option and the arguments IMAGE and COMMAND. */
export function defineOrigin(command: Command, what: string): void {
  command.usage("[options] IMAGE [COMMAND ARG...]")
    .argument("<IMAGE>", "image reference, such as debian:12")
    .argument("[COMMAND...]", what)
    .passThroughOptions()
    .option(
      "--from <BOX/SNAPSHOT>",
      "go on from a snapshot with memory, in place of an IMAGE: nothing boots",
    )
    .on("option:from", () => {
      for (const argument of command.registeredArguments) argument.required = false;
    });
}

/** What the box is made of, and the words that follow. */
export function originOf(
  { command, args }: Pick<Invocation, "command" | "args">,
): { readonly origin: Origin; readonly words: readonly string[] } {
  const { from } = command.opts<FromFlags>();
  if (from !== undefined) return { origin: { from }, words: args };
  const [image = "", ...words] = args;
  return { origin: { image }, words };
}

/** Makes the box that the options ask for; `extra` is for one that boots. */
export async function makeBox(
  runtime: Runtime,
  invocation: Invocation,
  { origin, flags, always, extra = {} }: {
    readonly origin: Origin;
    readonly flags: BoxFlags;
    readonly always: Pick<BoxOptions, "detached" | "signal">;
    readonly extra?: Pick<BoxOptions, "main">;
  },
): Promise<Box> {
  const image = "image" in origin ? origin.image : "";
  const options = await boxOptionsOf(image, flags, (name) => Deno.env.get(name));
  if ("image" in origin) {
    return await createBox(runtime, { ...options, ...extra, ...always }, invocation);
  }
  const { image: _, labels, ...rest } = options;
  const asked: FromOptions = {
    ...{ ...rest, ...always, from: origin.from },
    ...flags.label ? { labels: labels ?? {} } : {},
  };
  return await runtime.create(asked);
}

/** A box that goes on has the main command that it had. */
export function mainOfAnother(): HutchError {
  return new HutchError(
    "invalid_option",
    "Cannot use --from with a main command: what ran goes on, and nothing is started",
    { hint: "run a command in it: hutch exec -d BOX COMMAND" },
  );
}
