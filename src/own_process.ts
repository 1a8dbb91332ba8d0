/**
 * Starting processes of hutch's own from wherever its modules came from: a folder, or a URL.
 *
 * @module
 */

/**
 * The first words after `deno run` for a process that runs `modules` (absolute URLs) and nothing
 * else: it is quiet, asks nobody, and what the user's program is configured with is not for it.
 */
export function processFlags(modules: readonly string[]): string[] {
  return [
    ...["--quiet", "--no-prompt", "--no-config", "--no-lock", "--cached-only"],
    // What is in Deno's cache, and by the flag before nothing else.
    ...(modules.some(isRemote) ? ["--allow-import"] : []),
  ];
}

/**
 * Puts modules from the network, with all they import, into Deno's cache by loading them. They are
 * for other processes, and do nothing unless they are the main one.
 */
export async function cacheModules(modules: readonly string[]): Promise<void> {
  for (const module of modules.filter(isRemote)) await import(module);
}

function isRemote(module: string): boolean {
  return /^https?:/.test(module);
}
