/**
 * The lock that a box's keeper holds as long as it keeps the box.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { FileLock } from "../file_lock.ts";
import type { LayoutOutput } from "../plugin/contract.ts";

/** Whoever asks whether a lock is held holds it for a moment: that is over by then, in `ms`. */
const AGAIN_MS = 20;
const TRIES = 5;

/** Where the lock is. */
export function keeperLockPath({ folder }: Pick<LayoutOutput, "folder">): string {
  return join(folder, "keeper.lock");
}

/** The lock; undefined when the box has a keeper, or no folder. */
export async function tryKeeperLock(
  own: Pick<LayoutOutput, "folder">,
): Promise<FileLock | undefined> {
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      const lock = FileLock.try(keeperLockPath(own));
      if (lock) return lock;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
  return undefined;
}

/** Removes the lock's file that a keeper which was killed has left. */
export function clearKeeperLock(own: Pick<LayoutOutput, "folder">): void {
  const path = keeperLockPath(own);
  if (!existsSync(path)) return;
  try {
    FileLock.try(path)?.[Symbol.dispose]();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
