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
import { sweepDisks } from "../init/box_disk.ts";
import { boxPaths } from "../runtime/paths.ts";
import { isAlive } from "../vmm/machine.ts";
import { holdsData } from "./box_file.ts";
import type { BoxContext } from "./context.ts";
import { sweepShortening } from "./shorten.ts";

/** A removal first gives a folder this ending. */
const REMOVED = ".removed";
const FOLDER = /^([0-9a-f]{12})(\.removed)?$/;

/**
 * Removes such folders; what can't be removed is logged and left, and so is what may hold a box's
 * data, which lost its record in some other way.
 */
export async function sweepFolders(context: BoxContext): Promise<void> {
  const { paths, records, log } = context;
  const names = Array.from(Deno.readDirSync(paths.boxes), ({ name }) => name);
  finishRemovals(context, names);
  try {
    await sweepShortening(context);
    await sweepDisks(context);
  } catch (error) {
    log(`backing disks: ${errorText(error)}`);
  }
  // Each box has a folder. Counting is quick; of boxes made before that was so, it may miss folders
  // that are nobody's, until one more goes.
  if (names.length <= records.count()) return;
  const found = names.flatMap((name) => {
    const [, id, removed] = FOLDER.exec(name) ?? [];
    return id === undefined ? [] : [{ name, id, removed: removed !== undefined }];
  });
  const known = records.ids(); // after the folders, which are made before the records
  const strange = found.filter(({ id, removed }) => {
    if (known.has(id)) return false;
    const own = boxPaths(paths, id);
    // Somebody is at work in it.
    return removed || ![own.ownerLockPath, own.operationLockPath].some(FileLock.isHeld) &&
        !isAlive(own.lockPath);
  });
  if (strange.length === 0) return;
  for (const { name, id, removed } of strange) {
    const folder = join(paths.boxes, name);
    try {
      // A folder is made before its record, but in the same transaction or with its owner's lock held:
      // whoever has only just made it waits for the lock, and then makes it again.
      using owner = removed ? undefined : FileLock.try(boxPaths(paths, id).ownerLockPath);
      if (!removed && !owner || records.unknown([id]).length === 0) continue;
      if (!removed && holdsData(folder)) {
        log(`the folder ${folder} holds a box that has no record: see hutch doctor --repair`);
      } else {
        await removeIfThere(folder);
      }
    } catch (error) {
      if (isInUse(error)) continue;
      log(`the folder ${folder} that no box has: ${errorText(error)}`);
    }
  }
}

/** Somebody else was faster, to remove it or to make the box that it is for. */
function isInUse(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Error && "code" in error && error.code === "ENOTEMPTY";
}

/**
 * Forgets boxes whose removal was killed when their folder was out of the way already: nothing of
 * them could be started again. Whoever is just about to forget one itself finds that done.
 */
function finishRemovals({ records, plugins, log }: BoxContext, names: readonly string[]): void {
  const removed = names.filter((name) => name.endsWith(REMOVED));
  if (removed.length === 0) return;
  const whole = new Set(names);
  for (const [, id = ""] of removed.map((name) => FOLDER.exec(name) ?? [])) {
    if (id === "" || whole.has(id)) continue;
    try {
      const record = records.byId(id);
      if (record && records.remove(id)) {
        plugins.emit("box.removed", { box: id, name: record.name });
      }
    } catch (error) {
      log(`the record of box ${id}, whose files are gone: ${errorText(error)}`);
    }
  }
}
