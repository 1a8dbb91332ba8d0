/**
 * Clears away box folders that no record knows: of programs that were killed between making the one
 * and the other, or between a removal's steps.
 *
 * @module
 */
import { join } from "node:path";
import { removeIfThere } from "../atomic_file.ts";
import { errorText } from "../errors.ts";
import { FileLock } from "../file_lock.ts";
import { boxPaths } from "../runtime/paths.ts";
import { isAlive } from "../vmm/machine.ts";
import type { BoxContext } from "./context.ts";

const FOLDER = /^([0-9a-f]{12})(\.removed)?$/;

/** Removes such folders; what can't be removed is logged and left. */
export async function sweepFolders(context: BoxContext): Promise<void> {
  const { paths, records, log } = context;
  for await (const { name } of Deno.readDir(paths.boxes)) {
    const [, id, removed] = FOLDER.exec(name) ?? [];
    if (id === undefined) continue;
    const own = boxPaths(paths, id);
    // A box that is being made has its folder, and its owner's lock, before its record.
    const inUse = !removed && (FileLock.isHeld(own.ownerLockPath) || isAlive(own.lockPath));
    if (inUse || records.byId(id)) continue;
    try {
      await removeIfThere(join(paths.boxes, name));
    } catch (error) {
      log(`the folder ${name} that no box has: ${errorText(error)}`);
    }
  }
}
