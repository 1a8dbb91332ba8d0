/**
 * `hutch pull`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { PULL_POLICIES, type PullPolicy } from "../images/pull/policy.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { withProgress } from "./progress.ts";
import { defineProgressFlags, type ProgressFlags } from "./progress_mode.ts";
import { relaySignals } from "./session.ts";
import { parseChoice } from "./values.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE").argument("<IMAGE>", "image reference, such as debian:12");
  command.option(
    "--policy <POLICY>",
    "when to ask its source: missing, always, never or newer (default: always)",
    (text: string) => parseChoice(text, PULL_POLICIES, "--policy"),
  );
  defineProgressFlags(command);
}

interface Flags extends ProgressFlags {
  readonly policy?: PullPolicy;
}

/** Fetches an image, also one that is here already, and prints its digest. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [image = ""], io, open } = invocation;
  const { policy = "always", ...flags } = command.opts<Flags>();
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    const { digest } = await withProgress(io, flags, async (on) => {
      await using pull = runtime.images.pull(image, { signal: signals.signal, policy });
      for await (const event of pull) on(event);
      return await pull;
    });
    await print(io.stdout, `${digest}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
