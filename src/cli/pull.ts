/**
 * `hutch pull`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { PULL_POLICIES, type PullPolicy } from "../images/pull/policy.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
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
  command.option("--json", "an object with what is here now");
}

interface Flags extends ProgressFlags {
  readonly policy?: PullPolicy;
  readonly json?: boolean;
}

/** Fetches an image, also one that is here already, and prints its digest. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [name = ""], io, open } = invocation;
  const { policy = "always", json, ...flags } = command.opts<Flags>();
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    const image = await withProgress(io, flags, async (on) => {
      await using pull = runtime.images.pull(name, { signal: signals.signal, policy });
      for await (const event of pull) on(event);
      return await pull;
    });
    if (json) await printJson(io.stdout, "pull", image);
    else await print(io.stdout, `${image.digest}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
