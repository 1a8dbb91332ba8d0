/**
 * The beginning of a program made with `deno compile`: it is its own box process, and its own keeper.
 * `scripts/compile.ts` puts this before the user's code.
 *
 * @module
 */
import { claimTicket } from "../own_process.ts";

/** What belongs to the program, beside the user's code; each by a literal import. */
export interface CompiledModules {
  /** Plugins of the command line, by what they are called. @default {{}} */
  readonly plugins?: Readonly<Record<string, () => Promise<{ readonly default?: unknown }>>>;
  /** Runners of engines, which are loaded by their URLs. @default {[]} */
  readonly runners?: readonly (() => Promise<unknown>)[];
}

/**
 * Is the process that this program was started for by another of its kind, and ends with it; returns
 * when a person started it.
 */
export async function beOwnProcess({ plugins = {} }: CompiledModules = {}): Promise<void> {
  const ticket = claimTicket();
  if (ticket?.role === "box") {
    // What the program may do is more than a box process has use for.
    for (const name of ["env", "sys", "import"] as const) Deno.permissions.revokeSync({ name });
    const { main } = await import("../vmm/box_main.ts");
    return await main(ticket.args[0] ?? "");
  }
  if (ticket?.role === "interceptor") {
    for (const name of ["env", "sys", "import", "run", "ffi"] as const) {
      Deno.permissions.revokeSync({ name });
    }
    const { main } = await import("../network/intercept/main.ts");
    return await main();
  }
  const { setCompiledPlugins } = await import("./plugin_modules.ts");
  setCompiledPlugins(plugins);
  if (ticket?.role === "keeper") {
    const { main } = await import("./keeper_process.ts");
    await main(ticket.args);
  }
}
