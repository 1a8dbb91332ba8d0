/**
 * Taking a box for an operation: programs sharing a home take turns by its operation lock, and the
 * table of operations says whether it is legal.
 *
 * @module
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { basename, join } from "node:path";
import { makeFolder } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import { FileLock } from "../file_lock.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { killBoxProcess } from "../vmm/machine.ts";
import { removed } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { doomedFolder, reconcile, removeFiles } from "./reconcile.ts";
import { type BoxOperation, stepOf } from "./transitions.ts";

/** A box that this program alone works on until it is disposed of. */
export interface HeldBox extends Disposable {
  /** True now: nobody else changes its state meanwhile. */
  readonly record: BoxRecord;
  /** Runs a caller's code meanwhile: what would wait for the box in it is refused. */
  within<T>(body: () => T): T;
}

/** Ids of boxes that the running code was called with held. */
const holders = new AsyncLocalStorage<readonly string[]>();

/**
 * Waits for whoever is at work on a box, and holds it.
 *
 * @throws HutchError `box_not_found`, `box_state` when the operation is illegal in its state.
 */
export async function holdBox(
  context: BoxContext,
  id: string,
  operation: BoxOperation,
  options: { readonly force?: boolean } = {},
): Promise<HeldBox> {
  const own = boxPaths(context.paths, id);
  const known = context.records.byId(id);
  if (!known) throw removed(id);
  const outer = holders.getStore() ?? [];
  if (outer.includes(id)) throw heldByCaller(known);
  const lock = await lockFolder(own);
  try {
    const record = await settled(context, id);
    if (!record) {
      await removeFiles(own); // made again by us, a moment ago
      throw removed(known.config.name);
    }
    stepOf(operation, record, options);
    return {
      record,
      within: (body) => holders.run([...outer, id], body),
      [Symbol.dispose]: () => lock[Symbol.dispose](),
    };
  } catch (error) {
    lock[Symbol.dispose]();
    throw error;
  }
}

function heldByCaller({ config }: BoxRecord): HutchError {
  return new HutchError(
    "box_state",
    `Cannot change box "${config.name}" while this very code has it stand still`,
    { hint: "do so before quiesce, or after it" },
  );
}

/** The box's lock, in a folder that may be removed at any moment, and is made again then. */
async function lockFolder(own: LayoutOutput): Promise<FileLock> {
  for (;;) {
    let lock: FileLock;
    try {
      lock = await FileLock.acquire(own.operationLockPath);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      await makeFolder(own.folder);
      continue;
    }
    // Whoever removes the box holds the lock that went with its folder, until the record is gone.
    const doomedLock = join(doomedFolder(own), basename(own.operationLockPath));
    if (!FileLock.isHeld(doomedLock)) return lock;
    lock[Symbol.dispose]();
    await FileLock.untilFree(doomedLock);
  }
}

/** The record as it is, with nobody at work on the box any more; undefined if the box is gone. */
async function settled(context: BoxContext, id: string): Promise<BoxRecord | undefined> {
  const record = context.records.byId(id);
  const now = record && await reconcile(context, record, true);
  if (now?.state.status !== "starting") return now;
  // The program that was starting it died, and its machine is about to end for that.
  await killBoxProcess(now.state.pid, boxPaths(context.paths, id));
  return await reconcile(context, now, true);
}
