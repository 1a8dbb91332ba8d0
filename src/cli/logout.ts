/**
 * `hutch logout`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { DEFAULT_REGISTRY } from "../images/reference.ts";
import { registryName } from "../images/registry/registries.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { relaySignals } from "./session.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .usage("[REGISTRY]")
    .argument("[REGISTRY]", "such as ghcr.io or localhost:5000 (default: docker.io)");
}

/** Forgets a login; that there is none is told, and fine. */
export async function run({ args, io, open }: Invocation): Promise<number> {
  const registry = registryName(args[0] ?? DEFAULT_REGISTRY);
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    const known = await runtime.images.logout(registry, { signal: signals.signal });
    if (known) await print(io.stdout, `Logged out of ${registry}\n`);
    else await print(io.stderr, `hutch: not logged in to ${registry}\n`);
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
