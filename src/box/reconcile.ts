/**
 * Makes records tell the truth: what became of boxes whose program, box process or host ended.
 *
 * Nothing is guessed from process numbers or clocks. A box process holds a file lock as long as
 * it lives, and so does a program while it starts, stops or removes a box, or owns one; the kernel
 * takes the locks away from the dead.
 *
 * @module
 */
import { removeIfThere, removeIfThereSync } from "../atomic_file.ts";
import { FileLock } from "../file_lock.ts";
import { collectDisks } from "../init/box_disk.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxStatus } from "./options.ts";
import { ACTIVE, type BoxRecord, type BoxState } from "../state/boxes.ts";
import { type ExitFile, readExitFile } from "../vmm/machine_file.ts";
import { type BoxProcess, isAlive } from "../vmm/machine.ts";
import { livingStatus } from "./box_machine.ts";
import { changeSeen } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { clearKeeperLock } from "./keeper_lock.ts";
import { signalNumber } from "./signals.ts";
import { tellDetachedLost } from "./watch_exec.ts";

/** How long a machine may take to go on whose program died while it stood still, in `ms`. */
const GOES_ON_MS = 5_000;
const GOES_ON_STEP_MS = 100;

/** How often, and how far apart in `ms`, a folder is removed that others fill meanwhile. */
const FILLED_TRIES = 50;
const FILLED_STEP_MS = 10;

/** States of a living machine that nobody is changing. */
const SETTLED: readonly BoxStatus[] = ["running", "paused"];
/** States of a living machine that its record may be wrong about. */
const UNSURE: readonly BoxStatus[] = ["pausing", "paused", "stopping"];

/**
 * Brings a record up to date with what is there.
 *
 * @param locked The caller holds the box's operation lock.
 * @returns The record as it is now, or undefined if the box is gone.
 */
export async function reconcile(
  context: BoxContext,
  record: BoxRecord,
  locked: boolean,
): Promise<BoxRecord | undefined> {
  const own = boxPaths(context.paths, record.config.id);
  if (!ACTIVE.includes(record.state.status) && !record.config.owned) return record;
  if (locked) return await reconcileLocked(context, record, own);
  let lock = tryLock(own.operationLockPath);
  if (lock === "held") {
    // Somebody is at work on it. A box whose machine has ended is just being recorded as that.
    if (!SETTLED.includes(record.state.status) || isAlive(own.lockPath)) return record;
    lock = await waitForLock(own.operationLockPath);
  }
  using _lock = lock;
  const now = context.records.byId(record.config.id); // what whoever had the lock made of it
  return now && await reconcileLocked(context, now, own);
}

async function reconcileLocked(
  context: BoxContext,
  record: BoxRecord,
  own: LayoutOutput,
): Promise<BoxRecord | undefined> {
  const { config, state } = record;
  if (isAlive(own.lockPath)) {
    if (!UNSURE.includes(state.status)) return record;
    // Whoever was at work on it may have ended between two writes, at either side of the deed.
    const status = await statusAfter(context, record) ??
      (state.status === "paused" ? "paused" : "running");
    if (status === state.status) return record;
    const found = changeSeen(context, record, { ...state, status });
    if (found) emitFound(context, state.status, found);
    return found ?? context.records.byId(config.id);
  }
  if (config.owned && !FileLock.isHeld(own.ownerLockPath)) {
    // It should have gone with its program.
    await removeHeld(context, record, { exit: readExitFile(own.exitPath) });
    return undefined;
  }
  if (!ACTIVE.includes(state.status)) return record;
  const ended = endedState(record, readExitFile(own.exitPath), context.bootId);
  const stale = tryLock(own.lockPath); // taking it and letting go removes the dead one's file
  if (stale !== "held") stale?.[Symbol.dispose]();
  clearKeeperLock(own);
  const changed = changeSeen(context, record, ended);
  if (changed) emitEnd(context, changed);
  if (changed && config.main && config.autoRemove && !config.owned && config.restart === "no") {
    await removeHeld(context, changed, { exit: undefined }); // it outlived its program, for this end
    return undefined;
  }
  return changed ?? context.records.byId(config.id);
}

/**
 * What a machine does that its record may be wrong about. One that somebody who died had stand still
 * for a moment goes on by itself, soon.
 */
async function statusAfter(
  context: BoxContext,
  record: BoxRecord,
): Promise<"running" | "paused" | undefined> {
  const until = performance.now() + (record.state.status === "pausing" ? GOES_ON_MS : 0);
  for (;;) {
    const status = await livingStatus(context, record);
    if (status !== "paused" || performance.now() >= until) return status;
    await new Promise((resolve) => setTimeout(resolve, GOES_ON_STEP_MS));
  }
}

/**
 * Removes a box that is held: all but its process, which may yet take a while to die and is waited for last.
 *
 * @param options `exit`: how it ended, where that isn't recorded. `process`: what is dying.
 */
export async function removeHeld(
  context: BoxContext,
  record: BoxRecord,
  { exit, process }: {
    readonly exit: ExitFile | undefined;
    readonly process?: BoxProcess | undefined;
  },
): Promise<void> {
  const { config, state } = record;
  const ended = ACTIVE.includes(state.status)
    ? { ...record, state: endedState(record, exit, context.bootId) }
    : undefined;
  if (ended) tellDetachedLost(context, config); // forgotten with the record
  let forgotten = false;
  const own = boxPaths(context.paths, config.id);
  await removeFiles(own, () => forgotten = context.records.remove(config.id));
  await collectDisks(context);
  await process?.ended();
  if (!forgotten) return; // somebody else told of it
  if (ended) emitEnd(context, ended);
  context.plugins.emit("box.removed", { box: config.id, name: config.name });
}

/** Tells that a box doesn't run any more; by whoever recorded it. */
export function emitEnd(context: BoxContext, { config, state }: BoxRecord): void {
  const { plugins } = context;
  tellDetachedLost(context, config);
  const about = { box: config.id, name: config.name };
  const { status, reason } = state;
  if (status === "stopped") plugins.emit("box.stopped", { ...about, reason });
  else if (status === "crashed") plugins.emit("box.crashed", { ...about, reason: reason ?? "" });
  else if (status === "failed") {
    plugins.emit("box.failed", { ...about, stage: null, reason: reason ?? "" });
  }
}

/** Tells of a change that whoever made it couldn't record any more. */
function emitFound({ plugins }: BoxContext, before: BoxStatus, { config, state }: BoxRecord): void {
  const about = { box: config.id, name: config.name };
  if (before === "pausing" && state.status === "paused") plugins.emit("box.paused", about);
  if (before === "paused" && state.status === "running") plugins.emit("box.resumed", about);
}

async function waitForLock(path: string): Promise<FileLock | undefined> {
  try {
    return await FileLock.acquire(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The lock; `undefined` where the box has no folder. */
function tryLock(path: string): FileLock | "held" | undefined {
  try {
    return FileLock.try(path) ?? "held";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Removes all files and sockets of a box; what isn't there is fine.
 *
 * @param forget Removes its record: after its folder is out of the way, since a box without files can
 * still be removed, and before the lock in that folder goes.
 */
export async function removeFiles(own: LayoutOutput, forget = () => {}): Promise<void> {
  // At once: each trip to another thread takes longer than all of them.
  const { socketPath, channelPath, sharesSocketPath, controlPath } = own;
  const { networkSocketPath, networkControlPath, secretsSocketPath } = own;
  for (
    const path of [
      socketPath,
      channelPath,
      sharesSocketPath,
      controlPath,
      `${controlPath}.own`,
      `${controlPath}.memory`,
      networkSocketPath,
      networkControlPath,
      secretsSocketPath,
    ]
  ) {
    removeIfThereSync(path);
  }
  // Out of the way in one step: whoever looks meanwhile finds no folder. Removed in place, its lock
  // files would go first, and somebody could take a lock, in a new file, in what is being removed.
  const doomed = doomedFolder(own);
  await whileFilled(async (again) => {
    if (again) await removeIfThere(doomed); // of a program that died here
    try {
      Deno.renameSync(own.folder, doomed);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  });
  forget();
  await whileFilled(() => removeIfThere(doomed));
}

/** Does it again where others, who waited for the box and made its folder anew, put that in the same place. */
async function whileFilled(remove: (again: boolean) => Promise<void>): Promise<void> {
  for (let left = FILLED_TRIES;; left--) {
    try {
      return await remove(left < FILLED_TRIES);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      const filled = code === "ENOTEMPTY" || code === "EEXIST"; // file systems differ
      if (!filled || left === 0) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, FILLED_STEP_MS));
  }
}

/** Where a box's folder is while it is being removed. */
export function doomedFolder({ folder }: Pick<LayoutOutput, "folder">): string {
  return `${folder}.removed`;
}

/**
 * The state of a box whose box process has ended.
 *
 * @param exit What it left.
 */
export function endedState(
  { config, state }: Pick<BoxRecord, "config" | "state">,
  exit: ExitFile | undefined,
  bootId: string,
): BoxState {
  const stoppedAt = exit?.at ?? new Date().toISOString();
  const ended = { ...state, pid: null, stoppedAt, exitCode: config.main ? codeOf(exit) : null };
  if (state.status === "starting") {
    return { ...ended, status: "failed", reason: "the program that was starting it ended" };
  }
  // A program without all permissions doesn't know the boot id.
  if (state.bootId && bootId !== "" && state.bootId !== bootId) {
    return { ...ended, status: "stopped", reason: "the host was restarted" };
  }
  switch (exit?.reason) {
    case "shutdown":
      return { ...ended, status: "stopped", reason: null };
    case "killed":
      return { ...ended, status: "stopped", reason: "it was killed" };
    case "creator":
      return { ...ended, status: "stopped", reason: "the program that started it ended" };
    case "main": {
      // Whoever stops a box knows what its main command ended by.
      const reason = state.status === "stopping" || exit.message === "" ? null : exit.message;
      return { ...ended, status: "stopped", reason };
    }
    case "limit":
      return { ...ended, status: "stopped", reason: exit.message };
    case "guest": {
      // One that was asked to end, and whose last word wasn't heard.
      const status = state.status === "stopping" ? "stopped" : "crashed";
      return { ...ended, status, reason: exit.message };
    }
    case "protocol":
    case "engine":
      return { ...ended, status: "crashed", reason: exit.message };
    case undefined:
      return { ...ended, status: "crashed", reason: "its box process was killed" };
  }
}

/** The main command's exit code. */
function codeOf(exit: ExitFile | undefined): number | null {
  if (!exit?.main) return exit?.reason === "killed" ? 128 + signalNumber("SIGKILL") : null;
  const { code, signal } = exit.main;
  if (signal === null) return code;
  try {
    return 128 + signalNumber(signal);
  } catch {
    return null; // a guest may say anything
  }
}
