/**
 * Lets the keepers of a home go, for a repair that needs it alone. Whoever opens it next makes others.
 *
 * @module
 */
import { join } from "node:path";
import { keeperLockPath } from "../box/keeper_lock.ts";
import { FileLock } from "../file_lock.ts";
import { lockHolders } from "../lock_holders.ts";
import type { Paths } from "./paths.ts";

/** How long a keeper process may take to end, in `ms`. */
const PATIENCE_MS = 5_000;
const LOOK_MS = 20;

/** Ends the keeper processes of a home; keepers in other programs stay, as those do. */
export async function endKeepers({ boxes }: Pick<Paths, "boxes">): Promise<void> {
  for (const { name } of [...readDir(boxes)]) {
    const lock = keeperLockPath({ folder: join(boxes, name) });
    if (!FileLock.isHeld(lock)) continue;
    const pids = lockHolders(lock).filter(isKeeperProcess);
    for (const pid of pids) end(pid);
    const until = performance.now() + PATIENCE_MS;
    while (pids.length > 0 && FileLock.isHeld(lock) && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

/** The number may be another process's by now: then it has no such name. */
function isKeeperProcess(pid: number): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("/runtime/keeper_process.ts\0");
  } catch {
    return false; // gone, or somebody else's
  }
}

function end(pid: number): void {
  try {
    Deno.kill(pid, "SIGTERM");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function readDir(folder: string): Iterable<Deno.DirEntry> {
  try {
    return Deno.readDirSync(folder);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
