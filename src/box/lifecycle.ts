/**
 * The steps of a box's life that change its record: start, stop, kill, remove. Each holds the
 * box's operation lock, so that programs sharing a home take turns.
 *
 * @module
 */
import { FileLock } from "../file_lock.ts";
import { errorText, HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { startBox } from "../init/pipeline.ts";
import { endedReason } from "../init/stages.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord, BoxState } from "../state/boxes.ts";
import { type BoxProcess, isAlive, killBoxProcess, untilEnded } from "../vmm/machine.ts";
import type { BoxContext } from "./context.ts";
import { endedState, reconcile, removeFiles } from "./reconcile.ts";

/** How long after its grace a guest may take to be gone before it is killed, in `ms`. */
const STOP_MARGIN_MS = 5_000;

/** A running box, as a program holds it. */
export interface LiveBox {
  readonly client: GuestClient;
  /** The box process, if this program started it. */
  readonly process: BoxProcess | undefined;
}

/** Starts a box, or connects to it when it runs. */
export async function startOrAttach(
  context: BoxContext,
  id: string,
  options: { readonly detached: boolean; readonly signal: AbortSignal },
): Promise<LiveBox> {
  using _lock = await lockBox(context, id);
  const record = await current(context, id);
  const own = boxPaths(context.paths, id);
  if (record.state.status === "running") {
    const client = await GuestClient.connect(own.socketPath, {
      signal: options.signal,
      lostReason: () => endedReason(own),
    });
    return { client, process: undefined };
  }
  let starting = update(context, record, {
    status: "starting",
    pid: null,
    bootId: context.bootId,
    engine: null,
    startedAt: new Date().toISOString(),
    stoppedAt: null,
    reason: null,
    stages: {},
  });
  try {
    const started = await startBox({
      ...context,
      box: record.config,
      signal: options.signal,
      booted: (engine, pid) => {
        starting = update(context, starting, { ...starting.state, engine, pid });
      },
    });
    try {
      update(context, starting, {
        ...starting.state,
        status: "running",
        stages: started.stages,
      });
    } catch (error) {
      await started.client[Symbol.asyncDispose]();
      started.process.kill();
      await started.process.ended();
      throw error;
    }
    if (options.detached) started.process.detach();
    return { client: started.client, process: started.process };
  } catch (error) {
    try {
      update(context, starting, {
        ...starting.state,
        status: "failed",
        pid: null,
        stoppedAt: new Date().toISOString(),
        reason: errorText(error),
      });
    } catch (later) {
      // The record went away meanwhile: the start's own error is the one that counts.
      context.log(`box "${record.config.name}": ${errorText(later)}`);
    }
    throw error;
  }
}

/**
 * Stops a box: asks the guest, and kills it if it isn't gone in time. No-op if it doesn't run.
 *
 * @param timeoutMs Time between TERM and KILL for the box's processes.
 */
export async function stopBox(
  context: BoxContext,
  id: string,
  timeoutMs: number,
  live: GuestClient | undefined,
): Promise<void> {
  using _lock = await lockBox(context, id);
  const record = await current(context, id);
  if (record.state.status !== "running") return;
  const own = boxPaths(context.paths, id);
  const stopping = update(context, record, { ...record.state, status: "stopping" });
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(), timeoutMs + STOP_MARGIN_MS);
  try {
    await shutDown(own.socketPath, timeoutMs, live, timer.signal);
    await Promise.race([untilEnded(own.lockPath), aborted(timer.signal)]);
  } catch (error) {
    context.log(`box "${record.config.name}": the guest could not shut down: ${errorText(error)}`);
  } finally {
    clearTimeout(timeout);
  }
  if (isAlive(own.lockPath)) await killBoxProcess(record.state.pid ?? 0, own.lockPath);
  update(context, stopping, await endedState(record.state, own, context.bootId));
}

async function shutDown(
  socketPath: string,
  graceMs: number,
  live: GuestClient | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (live) {
    await live.request({ op: "shutdown", graceMs }, { signal });
    return;
  }
  await using client = await GuestClient.connect(socketPath, { signal });
  await client.request({ op: "shutdown", graceMs }, { signal });
  await client.closed;
}

/** Ends a box at once. No-op if it doesn't run. */
export async function killBox(context: BoxContext, id: string): Promise<void> {
  const record = context.records.byId(id);
  const own = boxPaths(context.paths, id);
  // Before the lock: a start that hangs would hold it.
  if (record?.state.pid) await killBoxProcess(record.state.pid, own.lockPath);
  using _lock = await lockBox(context, id);
  await current(context, id);
}

/**
 * Removes a box and all its files.
 *
 * @throws HutchError `box_state` when it runs and `force` isn't set.
 */
export async function removeBox(context: BoxContext, id: string, force: boolean): Promise<void> {
  using _lock = await lockBox(context, id);
  const record = await current(context, id);
  const own = boxPaths(context.paths, id);
  if (isAlive(own.lockPath)) {
    if (!force) {
      throw new HutchError(
        "box_state",
        `Cannot remove box "${record.config.name}": it is ${record.state.status}`,
        { hint: "stop it first, or use force (hutch rm -f)" },
      );
    }
    await killBoxProcess(record.state.pid ?? 0, own.lockPath);
  }
  await removeFiles(own); // before the record: a box without files can still be removed
  context.records.remove(id);
}

/** What is known about a box that ended under a connection, its record brought up to date. */
export async function settle(context: BoxContext, id: string): Promise<BoxRecord | undefined> {
  const own = boxPaths(context.paths, id);
  await untilEnded(own.lockPath);
  const record = context.records.byId(id);
  return record ? await reconcile(context, record, false) : undefined;
}

/** The record, brought up to date under the lock. */
async function current(context: BoxContext, id: string): Promise<BoxRecord> {
  const record = context.records.byId(id);
  const now = record ? await reconcile(context, record, true) : undefined;
  if (now) return now;
  await removeFiles(boxPaths(context.paths, id));
  throw new HutchError("box_not_found", `Cannot find box ${id}: it was removed`, {
    hint: "hutch ls -a lists all boxes",
  });
}

function update(context: BoxContext, record: BoxRecord, state: BoxState): BoxRecord {
  let seen: BoxRecord | undefined = record;
  while (seen) {
    const changed = context.records.change(record.config.id, seen.revision, state);
    if (changed) return changed;
    seen = context.records.byId(record.config.id); // changed by somebody who read it before us
  }
  throw new HutchError(
    "box_not_found",
    `Cannot change box "${record.config.name}": it was removed meanwhile`,
  );
}

async function lockBox(context: BoxContext, id: string): Promise<FileLock> {
  const own = boxPaths(context.paths, id);
  if (!context.records.byId(id)) await current(context, id); // says that it is gone
  await Deno.mkdir(own.folder, { recursive: true, mode: 0o700 });
  return await FileLock.acquire(own.operationLockPath);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
