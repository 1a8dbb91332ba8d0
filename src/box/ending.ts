/**
 * The end of a box: stop, kill, remove. Each holds the box's operation lock, so that programs sharing a
 * home take turns.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import type { LayoutOutput, StopInput } from "../plugin/contract.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import { type BoxProcess, killBoxProcess, untilEnded } from "../vmm/machine.ts";
import { type ExitFile, exitNow, readExitFile, writeExitFile } from "../vmm/machine_file.ts";
import { continueMachine } from "./box_machine.ts";
import { changeState } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";
import { endMain } from "./main_command.ts";
import type { BoxConfig } from "./options.ts";
import { emitEnd, endedState, reconcile, removeHeld } from "./reconcile.ts";
import type { LiveBox } from "./starting.ts";
import { checkMs, LONGEST_GRACE_MS } from "./times.ts";

/** How long a box that is removed by force gets to write to its volumes, in `ms`. */
const SAVE_MS = 5_000;

/**
 * Stops a box: asks the guest, and kills it if it isn't gone in time. No-op if it doesn't run.
 *
 * @returns Its record afterwards.
 * @throws HutchError `invalid_option` for times that are out of bounds.
 */
export async function stopBox(
  context: BoxContext,
  id: string,
  input: StopInput,
  live: LiveBox | undefined,
): Promise<BoxRecord> {
  checkInput(input);
  using held = await holdBox(context, id, "stop");
  const { record } = held;
  context.keepers.leave(context, id);
  if (!ACTIVE.includes(record.state.status)) return record;
  const { stopping } = await shutDown(context, record, input, { live, discard: false });
  return recordEnd(context, stopping);
}

/** Stops a box if it runs, as {@link stopBox} does, and removes it: nobody is to look at its disk between. */
export async function discardBox(
  context: BoxContext,
  id: string,
  input: StopInput,
  live: LiveBox | undefined,
): Promise<void> {
  checkInput(input);
  using held = await holdBox(context, id, "stop");
  const { record } = held;
  const own = boxPaths(context.paths, id);
  context.keepers.leave(context, id);
  let exit: ExitFile | undefined;
  let ending = record;
  if (ACTIVE.includes(record.state.status)) {
    const { stopping, cut } = await shutDown(context, record, input, { live, discard: true });
    exit = cut ? exitNow("shutdown") : readExitFile(own.exitPath);
    ending = stopping;
  }
  await removeHeld(context, ending, { exit, process: live?.process });
}

/** Also what a plugin has made of it. */
function checkInput({ timeoutMs, killAfterMs }: StopInput): void {
  checkMs("timeoutMs", timeoutMs, 0, LONGEST_GRACE_MS);
  checkMs("killAfterMs", killAfterMs, 0, LONGEST_GRACE_MS);
}

/**
 * Ends a box that runs and is held, in time.
 *
 * @param options `discard`: its disk will be removed unread.
 * @returns Its record, which says that it is ending, and whether its box process was cut off after the
 * guest's goodbye: then it leaves no word, and may yet take a while to die.
 */
async function shutDown(
  context: BoxContext,
  record: BoxRecord,
  { timeoutMs, killAfterMs }: StopInput,
  options: { readonly live: LiveBox | undefined; readonly discard: boolean },
): Promise<{ readonly stopping: BoxRecord; readonly cut: boolean }> {
  const { config, state } = record;
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(), timeoutMs + killAfterMs);
  // Begun first: the guest takes longer than the record.
  const ending = endsInTime(context, record, { ...options, timeoutMs, signal: timer.signal });
  try {
    const stopping = changeState(context, record, { ...state, status: "stopping" });
    const end = await ending;
    if (end === "late") await killBoxProcess(state.pid, boxPaths(context.paths, config.id));
    return { stopping, cut: end === "cut" };
  } catch (error) {
    timer.abort();
    await ending;
    throw error;
  } finally {
    clearTimeout(timeout);
  }
}

/** How a box is to end. */
interface EndOptions {
  /** How long its processes get. */
  readonly timeoutMs: number;
  readonly live: LiveBox | undefined;
  readonly discard: boolean;
  /** Gives it up. */
  readonly signal: AbortSignal;
}

/** Has the guest end, and tells what became of the box process. Never rejects. */
async function endsInTime(
  context: BoxContext,
  record: BoxRecord,
  options: EndOptions,
): Promise<"gone" | "cut" | "late"> {
  const { config, state } = record;
  const { discard, live, signal } = options;
  const own = boxPaths(context.paths, config.id);
  try {
    if (state.status === "paused") await continueMachine(context, record);
    await askToEnd(own.socketPath, config, options);
    // Volumes are free for others when the box process has seen its machine off.
    const mayCut = discard && config.volumes.length === 0;
    if (live && mayCut && await cutParted(live, signal)) return "cut";
    await Promise.race([untilEnded(own.lockPath), aborted(signal)]);
    if (!signal.aborted) return "gone";
    context.log(`box "${config.name}": its guest shut down, but its machine didn't end`);
  } catch (error) {
    context.log(`box "${config.name}": the guest could not shut down: ${errorText(error)}`);
  }
  return "late";
}

/** Asks the main command to end, if there is one, then the guest; returns when it is gone. */
async function askToEnd(
  socketPath: string,
  config: BoxConfig,
  { timeoutMs, live, discard, signal }: EndOptions,
): Promise<void> {
  await using mine = live ? undefined : await GuestClient.connect(socketPath, { signal });
  const client = live?.client ?? mine;
  if (!client) return;
  const from = performance.now();
  if (config.main && timeoutMs > 0) {
    const late = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    // The box process ends the guest once its main command has ended.
    if (await endMain(config, client, late)) return await client.closed;
  }
  const graceMs = Math.max(0, Math.round(timeoutMs - (performance.now() - from)));
  await client.request({ op: "shutdown", graceMs, discard }, { signal });
  if (mine) await client.closed;
}

/**
 * Ends the machine of a box that is discarded, once its guest has said goodbye: its box process would do so
 * too, after it has written the last of its log. Dying takes a while, which nobody has to wait for yet.
 *
 * @returns Whether it was done.
 */
async function cutParted({ client, process }: LiveBox, signal: AbortSignal): Promise<boolean> {
  const parting = await Promise.race([client.parting, aborted(signal)]);
  if (!process || parting?.reason !== "shutdown" || !parting.alone) return false;
  process.cut();
  return true;
}

/** Ends a box at once. No-op if it doesn't run. */
export async function killBox(context: BoxContext, id: string): Promise<BoxRecord> {
  context.keepers.leave(context, id);
  await killUnheld(context, id);
  using held = await holdBox(context, id, "kill");
  context.keepers.leave(context, id); // somebody may have started it meanwhile
  const { record } = held;
  if (!ACTIVE.includes(record.state.status)) return record;
  // It was started after we had looked, or its box process wasn't known yet.
  await killBoxProcess(record.state.pid, boxPaths(context.paths, id));
  return recordEnd(context, record);
}

/**
 * Removes a box and all its files. By force one that runs is cut off, once it has written to its volumes.
 *
 * @param options `process`: the one that this program has started, if it did.
 * @throws HutchError `box_state` when it runs and `force` isn't set.
 */
export async function removeBox(
  context: BoxContext,
  id: string,
  { force, process }: { readonly force: boolean; readonly process: BoxProcess | undefined },
): Promise<void> {
  const own = boxPaths(context.paths, id);
  if (force) {
    context.keepers.leave(context, id);
    await saveVolumes(context, id);
    if (process && process.pid !== 0) cutOff(process, own);
    else await killUnheld(context, id);
  }
  using held = await holdBox(context, id, "remove", { force });
  const { record } = held;
  const dying = process?.pid === record.state.pid ? process : undefined;
  if (!dying) await killBoxProcess(record.state.pid, own);
  await removeHeld(context, record, { exit: readExitFile(own.exitPath), process: dying });
}

/**
 * Has the guest of a box that will be cut off bring to its volumes what it has written: they outlive it, and
 * disks among them are written by the guest alone. One that doesn't within {@link SAVE_MS} loses that.
 */
async function saveVolumes(context: BoxContext, id: string): Promise<void> {
  const record = context.records.byId(id);
  if (!record || record.config.volumes.length === 0) return;
  if (!["running", "paused"].includes(record.state.status)) return;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), SAVE_MS);
  try {
    const options = { timeoutMs: 0, live: undefined, discard: true, signal: late.signal };
    await endsInTime(context, record, options);
  } finally {
    clearTimeout(timer);
  }
}

/** Ends the box process that this program has started. It has ended when that has been recorded, or later. */
function cutOff(process: BoxProcess, { exitPath }: LayoutOutput): void {
  try {
    writeExitFile(exitPath, "killed");
  } catch {
    // On a full disk the box counts as one whose process was killed, which is as true.
  }
  process.cut();
}

/** Ends the box process without holding the box: whoever waits for it holds the box meanwhile. */
async function killUnheld(context: BoxContext, id: string): Promise<void> {
  const pid = context.records.byId(id)?.state.pid;
  if (pid) await killBoxProcess(pid, boxPaths(context.paths, id));
}

/** Brings the record of a box up to date whose box process, started here, is ending. */
export async function settle(
  context: BoxContext,
  id: string,
  process: BoxProcess,
): Promise<BoxRecord | undefined> {
  await process.ended();
  const record = context.records.byId(id);
  return record ? await reconcile(context, record, false) : undefined;
}

/** Records that a box, which is held, has ended. */
function recordEnd(context: BoxContext, record: BoxRecord): BoxRecord {
  const own = boxPaths(context.paths, record.config.id);
  const state = endedState(record, readExitFile(own.exitPath), context.bootId);
  const ended = changeState(context, record, state);
  emitEnd(context, ended);
  return ended;
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener("abort", () => resolve(undefined), { once: true });
  });
}
