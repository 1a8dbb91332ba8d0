/**
 * Holding a box still, so that its disk can be read.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import type { Consistency } from "./archive/format.ts";
import { continueMachine, livingStatus, machineOf, pauseFailure } from "./box_machine.ts";
import { changeState } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";

/** How long the guest may take to write what it has in memory, in `ms`. */
const SYNC_MS = 30_000;

/** A box that stands still. */
export interface QuietBox {
  readonly record: BoxRecord;
  /** How its disk came to be as it is. */
  readonly consistency: Consistency;
}

/**
 * Does something while nobody changes the box, nor its disk: of one that runs, the guest writes what
 * it has and the machine stands still. A program that dies meanwhile leaves the box paused.
 *
 * @throws HutchError `box_not_found`, `box_state`, and what `work` throws.
 */
export async function whileQuiet<T>(
  context: BoxContext,
  id: string,
  operation: "export" | "commit",
  work: (box: QuietBox) => Promise<T>,
): Promise<T> {
  using held = await holdBox(context, id, operation);
  const { record } = held;
  if (record.state.status === "paused") return await work({ record, consistency: "crash" });
  if (record.state.status !== "running") return await work({ record, consistency: "stopped" });
  const synced = await syncGuest(context, record);
  const { pauser, machine } = machineOf(context, record);
  const pausing = changeState(context, record, { ...record.state, status: "pausing" });
  let now = pausing;
  try {
    await pauser.pause(machine).catch((error: unknown) => {
      throw pauseFailure(operation, record, error);
    });
    now = changeState(context, pausing, { ...record.state, status: "paused" });
    return await work({ record, consistency: synced ? "synced" : "crash" });
  } finally {
    await goOn(context, now);
  }
}

/** Has the guest bring everything to its disk; false when it can't. */
async function syncGuest(context: BoxContext, { config }: BoxRecord): Promise<boolean> {
  const { socketPath } = boxPaths(context.paths, config.id);
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(SYNC_MS)]);
  try {
    await using client = await GuestClient.connect(socketPath, { signal });
    await using stream = client.open({
      op: "exec",
      builtin: "sync",
      argv: ["sync"],
      env: [],
      cwd: "/",
      user: "",
      stdin: false,
    }, { signal, background: true });
    const { code } = await stream.exit;
    if (code === 0) return true;
    throw new HutchError("guest_failed", `the guest's sync ended with ${code}`);
  } catch (error) {
    context.log(`box "${config.name}": it couldn't be asked to write: ${errorText(error)}`);
    return false;
  }
}

/** Lets the machine go on, and records how it is. */
async function goOn(context: BoxContext, record: BoxRecord): Promise<void> {
  await continueMachine(context, record).catch((error: unknown) => {
    context.log(errorText(error)); // what the record says tells whoever looks
  });
  const status = await livingStatus(context, record);
  if (status) changeState(context, record, { ...record.state, status });
}
