/**
 * The steps of a box's life that change its record: start, stop, kill, remove. Each holds the
 * box's operation lock, so that programs sharing a home take turns.
 *
 * @module
 */
import { join } from "node:path";
import { removeIfThereSync } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { collectDisks } from "../init/box_disk.ts";
import { startBox, StartError } from "../init/pipeline.ts";
import { endedReason } from "../init/stages.ts";
import type { LayoutOutput, StopInput } from "../plugin/contract.ts";
import { requireToStart } from "../permission_sets.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord, NEW_STATE } from "../state/boxes.ts";
import { type BoxProcess, isAlive, killBoxProcess, lifeOf, untilEnded } from "../vmm/machine.ts";
import { UNFINISHED } from "./box_file.ts";
import { continueMachine } from "./box_machine.ts";
import { changeState, removed } from "./change.ts";
import type { BoxContext } from "./context.ts";
import type { BoxConfig } from "./options.ts";
import { holdBox } from "./hold.ts";
import { endMain, startMain } from "./main_command.ts";
import { talkToNetwork } from "./network_talk.ts";
import { trustAuthority } from "./trust.ts";
import { stepOf } from "./transitions.ts";
import { emitEnd, endedState, reconcile, removeFiles } from "./reconcile.ts";

/** How long a box process may take to end once nobody can connect to it, in `ms`. */
const ENDING_MS = 20_000;
const ENDING_STEP_MS = 20;

/** A running box, as a program holds it. */
export interface LiveBox {
  readonly client: GuestClient;
  /** The box process, if this program started it. */
  readonly process: BoxProcess | undefined;
}

/** Options of {@link startOrAttach}. */
export interface StartOrAttachOptions {
  /** `attach` doesn't start it. */
  readonly operation: "start" | "exec" | "restart" | "attach";
  /** Asked when the box runs: whether it outlives this program. */
  readonly detached: () => boolean;
  readonly signal: AbortSignal;
}

/** Starts a box, or connects to it when it runs. One that wants a keeper has it then. */
export async function startOrAttach(
  context: BoxContext,
  id: string,
  options: StartOrAttachOptions,
): Promise<LiveBox> {
  const live = await holdAndStart(context, id, options);
  if (!live.process) return live;
  try {
    await context.keepers.keep(context, id);
    return live;
  } catch (error) {
    context.keepers.leave(context, id);
    await live.client[Symbol.asyncDispose]();
    live.process.kill();
    await live.process.ended();
    throw error;
  }
}

async function holdAndStart(
  context: BoxContext,
  id: string,
  options: StartOrAttachOptions,
): Promise<LiveBox> {
  using held = await holdBox(context, id, options.operation);
  options.signal.throwIfAborted(); // it may have been long until it was our turn
  context.keepers.refuseStale(context, id);
  const own = boxPaths(context.paths, id);
  let { record } = held;
  if (record.state.status === "running") {
    const client = await attach(own, options.signal);
    if (client) {
      void talkToNetwork(context, record.config, { over: client.closed });
      return { client, process: undefined };
    }
    const ended = await reconcile(context, record, true);
    if (!ended) throw removed(record.config.name);
    record = ended;
  }
  if (options.operation === "attach") stepOf("attach", record); // throws: it has ended
  requireToStart(record.config.name, own.socketPath);
  removeIfThereSync(join(own.folder, UNFINISHED)); // of an import that was recorded, and then killed
  let starting = changeState(context, record, {
    ...NEW_STATE,
    status: "starting",
    bootId: context.bootId,
    startedAt: new Date().toISOString(),
  });
  const about = { box: id, name: record.config.name };
  const from = performance.now();
  const talk = Promise.withResolvers<void>();
  try {
    const started = await startBox({
      ...context,
      box: record.config,
      handle: context.boxOf(id),
      signal: options.signal,
      secretValue: (box, name) => context.secretValues.get(box)?.get(name),
      trust: (guest, certificate) => trustAuthority(guest, record.config.name, certificate),
      startMain: (guest, input) => startMain(record.config, guest, input),
      booted: async ({ engine, pid, ports }) => {
        starting = changeState(context, starting, { ...starting.state, engine, pid, ports });
        // Before anything runs in the box that hooks are asked about.
        await new Promise<void>((ready) => {
          void talkToNetwork(context, record.config, { over: talk.promise, ready }).then(ready);
        });
      },
    });
    void started.client.closed.then(talk.resolve);
    const detached = options.detached();
    try {
      const { stages } = started;
      changeState(context, starting, { ...starting.state, status: "running", stages });
      context.keepers.begin(context, record.config, detached);
    } catch (error) {
      await started.client[Symbol.asyncDispose]();
      started.process.kill();
      await started.process.ended();
      throw error;
    }
    if (detached) started.process.detach();
    const ms = Math.round(performance.now() - from);
    context.plugins.emit("box.started", { ...about, engine: started.engine, ms });
    return { client: started.client, process: started.process };
  } catch (error) {
    talk.resolve();
    const stage = error instanceof StartError ? error.stage : null;
    const reason = errorText(error);
    try {
      const stoppedAt = new Date().toISOString();
      const { state } = starting;
      changeState(context, starting, {
        ...{ ...state, status: "failed", pid: null, stoppedAt, reason, stage },
      });
    } catch (later) {
      // The record went away meanwhile: the start's own error is the one that counts.
      context.log(`box "${record.config.name}": ${errorText(later)}`);
    }
    context.plugins.emit("box.failed", { ...about, stage, reason });
    throw error;
  }
}

/** Connects to a box that runs; undefined when it was about to end, and has ended. */
async function attach(own: LayoutOutput, signal: AbortSignal): Promise<GuestClient | undefined> {
  const life = lifeOf(own.lockPath);
  try {
    return await GuestClient.connect(own.socketPath, {
      signal,
      lostReason: () => endedReason(own, life),
    });
  } catch (error) {
    const lost = error instanceof HutchError && error.code === "connection_lost";
    if (!lost || !await endsSoon(own, signal)) throw error;
    return undefined;
  }
}

/** Whether a box process that can't be connected to ends: it closes its sockets a little before. */
async function endsSoon({ lockPath }: LayoutOutput, signal: AbortSignal): Promise<boolean> {
  const from = performance.now();
  while (isAlive(lockPath)) {
    if (signal.aborted || performance.now() - from > ENDING_MS) return false;
    await new Promise((resolve) => setTimeout(resolve, ENDING_STEP_MS));
  }
  return true;
}

/**
 * Stops a box: asks the guest, and kills it if it isn't gone in time. No-op if it doesn't run.
 *
 * @param discard Whether its disk will be removed unread.
 * @returns Its record afterwards.
 */
export async function stopBox(
  context: BoxContext,
  id: string,
  { timeoutMs, killAfterMs }: StopInput,
  { live, discard }: { readonly live: GuestClient | undefined; readonly discard: boolean },
): Promise<BoxRecord> {
  using held = await holdBox(context, id, "stop");
  const { record } = held;
  context.keepers.leave(context, id);
  if (!ACTIVE.includes(record.state.status)) return record;
  const own = boxPaths(context.paths, id);
  const stopping = changeState(context, record, { ...record.state, status: "stopping" });
  const timer = new AbortController();
  const timeout = setTimeout(() => timer.abort(), timeoutMs + killAfterMs);
  let ended = false;
  try {
    if (record.state.status === "paused") await continueMachine(context, record);
    await shutDown(own.socketPath, record.config, {
      ...{ timeoutMs, live, discard, signal: timer.signal },
    });
    await Promise.race([untilEnded(own.lockPath), aborted(timer.signal)]);
    ended = !timer.signal.aborted;
    if (!ended) {
      context.log(`box "${record.config.name}": its guest shut down, but its machine didn't end`);
    }
  } catch (error) {
    context.log(`box "${record.config.name}": the guest could not shut down: ${errorText(error)}`);
  } finally {
    clearTimeout(timeout);
  }
  if (!ended) await killBoxProcess(record.state.pid, own);
  return recordEnd(context, stopping);
}

/** Asks the main command to end, if there is one, then the guest; returns when it is gone. */
async function shutDown(
  socketPath: string,
  config: BoxConfig,
  { timeoutMs, live, discard, signal }: {
    readonly timeoutMs: number;
    readonly live: GuestClient | undefined;
    readonly discard: boolean;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  await using mine = live ? undefined : await GuestClient.connect(socketPath, { signal });
  const client = live ?? mine;
  if (!client) return;
  const from = performance.now();
  if (timeoutMs > 0) {
    const late = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    // The box process ends the guest once its main command has ended.
    if (await endMain(config, client, late)) return await client.closed;
  }
  const graceMs = Math.max(0, Math.round(timeoutMs - (performance.now() - from)));
  await client.request({ op: "shutdown", graceMs, discard }, { signal });
  if (mine) await client.closed;
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
 * Removes a box and all its files.
 *
 * @throws HutchError `box_state` when it runs and `force` isn't set.
 */
export async function removeBox(context: BoxContext, id: string, force: boolean): Promise<void> {
  if (force) {
    context.keepers.leave(context, id);
    await killUnheld(context, id);
  }
  using held = await holdBox(context, id, "remove", { force });
  const { record } = held;
  const own = boxPaths(context.paths, id);
  await killBoxProcess(record.state.pid, own);
  await removeFiles(own, () => context.records.remove(id));
  await collectDisks(context);
  context.plugins.emit("box.removed", { box: id, name: record.config.name });
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
  const state = endedState(record, own, context.bootId);
  const ended = changeState(context, record, state);
  emitEnd(context, ended);
  return ended;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
