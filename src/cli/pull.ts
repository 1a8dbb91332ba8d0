/**
 * `hutch pull`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { progressOn } from "./progress.ts";
import { relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE").argument("<IMAGE>", "image reference, such as debian:12");
}

/** Fetches an image, also one that is here already, and prints its digest. */
export async function run({ args: [image = ""], io, open }: Invocation): Promise<number> {
  using signals = relaySignals(io);
  await using runtime = await open();
  const progress = progressOn(io.stderr);
  try {
    const { digest } = await runtime.images.pull(image, {
      signal: signals.signal,
      onProgress: progress.on,
    });
    await progress.close();
    await print(io.stdout, `${digest}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  } finally {
    await progress.close();
  }
}
