/**
 * Clearing away what programs that died left behind.
 *
 * @module
 */
import { join } from "node:path";
import { removeIfThere } from "../../atomic_file.ts";
import { FileLock } from "../../file_lock.ts";

/**
 * Removes a folder's unfinished files that are older than `maxAgeMs` and whose lock nobody holds,
 * and the left-over locks themselves.
 *
 * @param finished The name that an unfinished file's lock is named after, without `.lock`;
 * undefined for files to leave alone.
 */
export async function sweepFolder(
  folder: string,
  maxAgeMs: number,
  finished: (name: string) => string | undefined,
): Promise<void> {
  for (const name of await namesIn(folder)) {
    if (name.endsWith(".lock")) {
      FileLock.try(join(folder, name))?.[Symbol.dispose]();
      continue;
    }
    const owner = finished(name);
    if (owner === undefined) continue;
    using lock = FileLock.try(join(folder, `${owner}.lock`));
    if (lock && await isOlder(join(folder, name), maxAgeMs)) {
      await removeIfThere(join(folder, name));
    }
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function isOlder(path: string, maxAgeMs: number): Promise<boolean> {
  try {
    const { mtime } = await Deno.lstat(path);
    return mtime !== null && Date.now() - mtime.getTime() >= maxAgeMs;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
