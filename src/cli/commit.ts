/**
 * `hutch commit`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags {
  readonly message?: string;
  readonly author?: string;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX IMAGE")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .argument("<IMAGE>", "what the image is to be called, such as team/app:1")
    .option("-m, --message <TEXT>", "what its history says")
    .option("-a, --author <NAME>", "who made it")
    .option("--json", "an object with what was made");
}

/** Makes an image of a box, and prints its digest. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [name = "", image = ""], io } = invocation;
  const { message, author, json } = command.opts<Flags>();
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, name);
      const made = await box.commit(image, {
        signal: signals.signal,
        ...message === undefined ? {} : { message },
        ...author === undefined ? {} : { author },
      });
      if (json) await printJson(io.stdout, "commit", made);
      else await print(io.stdout, `${made.digest}\n`);
      return 0;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
