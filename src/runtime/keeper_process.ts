/**
 * The keeper process of a detached box: it opens the box's home as any program does, and looks after
 * the box until that is stopped, removed or given up.
 *
 * Its arguments are the home, the box's id, the host's boot id, and the absolute URLs of the modules
 * with the plugins that the program had which started the box.
 *
 * @module
 */
import { tryKeeperLock } from "../box/keeper_lock.ts";
import type { KeeperReadyLine } from "../box/keeper_spawn.ts";
import { errorText, HutchError } from "../errors.ts";
import { boxPaths, pathsOf } from "./paths.ts";
import { compiledPlugins, importPlugins } from "./plugin_modules.ts";
import { Runtime } from "./runtime.ts";

if (import.meta.main) await main(Deno.args);

/** Keeps a box; ends with the program. */
export async function main(args: readonly string[]): Promise<void> {
  const [home = "", id = "", bootId = "", ...specifiers] = args;
  Deno.addSignalListener("SIGHUP", () => {}); // the end of a terminal is no reason
  let code = 0;
  try {
    await keep({ home, id, bootId, specifiers });
  } catch (error) {
    // Removed before we could look after it: then all is done.
    if (!(error instanceof HutchError) || error.code !== "box_not_found") {
      console.error(error);
      say({ error: errorText(error) });
      code = 1;
    }
  }
  Deno.exit(code);
}

async function keep({ home, id, bootId, specifiers }: {
  readonly home: string;
  readonly id: string;
  readonly bootId: string;
  readonly specifiers: readonly string[];
}): Promise<void> {
  const lock = await tryKeeperLock(boxPaths(pathsOf(home), id));
  if (!lock) return say({ held: true });
  using _lock = lock;
  const found = [];
  for (const load of compiledPlugins()) found.push(...await load());
  for (const specifier of specifiers) found.push(...await importPlugins(specifier, "/"));
  await Runtime.keep({
    home,
    plugins: found.map(({ plugin }) => plugin),
    pluginSpecifiers: specifiers,
    log: (line) => console.error(`${new Date().toISOString()} ${line}`),
  }, { id, bootId, lock, ready: () => say({ ready: true }) });
}

/** Tells the program that started us, which may have gone. */
function say(line: KeeperReadyLine): void {
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
  } catch {
    // Nobody listens.
  }
}
