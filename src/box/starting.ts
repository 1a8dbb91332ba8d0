/**
 * A box's start, or the way to one that runs. It holds the box's operation lock, so that programs sharing
 * a home take turns; see `ending.ts` for the other end.
 *
 * @module
 */
import { join } from "node:path";
import { removeIfThereSync } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { startBox, StartError } from "../init/pipeline.ts";
import { endedReason } from "../init/stages.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { requireToStart } from "../permission_sets.ts";
import { boxPaths } from "../runtime/paths.ts";
import { NEW_STATE } from "../state/boxes.ts";
import { type BoxProcess, isAlive, lifeOf } from "../vmm/machine.ts";
import { UNFINISHED } from "./box_file.ts";
import { changeState, removed } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";
import { startMain } from "./main_command.ts";
import { talkToNetwork } from "./network_talk.ts";
import { trustAuthority } from "./trust.ts";
import { stepOf } from "./transitions.ts";
import { reconcile } from "./reconcile.ts";

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
