/**
 * Letting a box stand still for a moment: its agent freezes the file systems, then the machine is
 * paused, and both go on afterwards whatever happens meanwhile.
 *
 * None of it lasts longer than the program that asked for it: the box process, or where it stands
 * still itself a process of its own, lets the machine go on when the program is gone, and then the
 * agent, whose stream has ended, thaws the file systems.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { GuestClient } from "../guest/client.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { guardPause } from "../vmm/pauser.ts";
import { machineOf } from "./box_machine.ts";
import { changeState } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { freezeGuest, type FrozenGuest } from "./freeze.ts";
import { holdBox } from "./hold.ts";
import type { Quiesced, QuiesceOptions, QuiesceReport } from "./snapshot_options.ts";
import { ACTIVE } from "../state/boxes.ts";
import type { Consistency } from "../state/snapshot_rows.ts";

/** How long a box process may take to answer, in `ms`. */
const ANSWER_MS = 5_000;

/** Runs `body` while a box stands still; one that doesn't run is held from running. */
export async function quiesceBox<T>(
  context: BoxContext,
  id: string,
  options: QuiesceOptions,
  body: () => T | Promise<T>,
): Promise<Quiesced<T>> {
  using held = await holdBox(context, id, "quiesce");
  const { record } = held;
  const run = async () => await held.within(body);
  if (ACTIVE.includes(record.state.status)) return await quiesced(context, record, options, run);
  const report = { consistency: "stopped", reason: null, freezeMs: 0, pausedMs: 0 } as const;
  return { value: await run(), ...report };
}

/**
 * Runs `body` while a box that runs or is paused stands still, for whoever holds the box.
 *
 * @throws HutchError `freeze_failed` where that was required; what `body` throws.
 */
export async function quiesced<T>(
  context: BoxContext,
  record: BoxRecord,
  options: QuiesceOptions,
  body: (consistency: Consistency) => Promise<T>,
): Promise<Quiesced<T>> {
  const { consistency = "best" } = options;
  if (record.state.status === "paused") {
    const reason = "the box is paused, and its agent with it";
    if (consistency === "required") throw refusal(record, reason);
    const from = performance.now();
    const value = await body("crash");
    return { value, ...told(context, record, { reason, freezeMs: 0, pausedMs: since(from) }) };
  }
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(2 * ANSWER_MS)]);
  const { socketPath } = boxPaths(context.paths, record.config.id);
  await using client = await GuestClient.connect(socketPath, { signal, timeoutMs: ANSWER_MS });
  const from = performance.now();
  const frozen = await freezeGuest(client);
  const freezeMs = since(from);
  const reason = typeof frozen === "string" ? frozen : null;
  if (reason !== null && consistency === "required") throw refusal(record, reason);
  const pausing = changeState(context, record, { ...record.state, status: "pausing" });
  let pausedMs = 0;
  let value: T;
  try {
    const still = await standStill(context, record, client);
    const since0 = performance.now();
    try {
      value = await body(consistencyOf(reason));
    } finally {
      await still.goOn();
      pausedMs = since(since0);
    }
  } finally {
    if (typeof frozen !== "string") await thaw(context, record, frozen);
    changeState(context, pausing, record.state);
  }
  return { value, ...told(context, record, { reason, freezeMs, pausedMs }) };
}

/** A machine that stands still. */
interface Still {
  /** Lets it go on. */
  goOn(): Promise<void>;
}

/** By the box process where it can, which outlives this program; else from here, under guard. */
async function standStill(
  context: BoxContext,
  record: BoxRecord,
  client: GuestClient,
): Promise<Still> {
  const stream = client.standStill();
  try {
    await stream.reply;
    return { goOn: () => stream.close({ timeoutMs: 2 * ANSWER_MS }) };
  } catch (error) {
    await stream.close();
    if (!(error instanceof HutchError) || error.code !== "guest_failed") throw error;
  }
  const { pauser, machine } = machineOf(context, record);
  const guard = guardPause(machine.pid);
  try {
    await pauser.pause(machine);
  } catch (error) {
    await pauser.resume(machine).catch(() => {});
    await guard.end();
    throw error;
  }
  return {
    async goOn() {
      await pauser.resume(machine);
      await guard.end();
    },
  };
}

async function thaw(context: BoxContext, record: BoxRecord, frozen: FrozenGuest): Promise<void> {
  try {
    await frozen.thaw();
  } catch (error) {
    // Its agent thaws by itself, since its stream has ended.
    context.log(`box "${record.config.name}": thawing its file systems: ${errorText(error)}`);
  }
}

function told(
  { plugins }: BoxContext,
  { config }: BoxRecord,
  how: Omit<QuiesceReport, "consistency">,
): QuiesceReport {
  const report = { consistency: consistencyOf(how.reason), ...how };
  plugins.emit("box.quiesced", { box: config.id, name: config.name, ...report });
  return report;
}

/** By why the file systems couldn't be frozen. */
function consistencyOf(reason: string | null): Consistency {
  return reason === null ? "filesystem" : "crash";
}

function refusal({ config }: BoxRecord, reason: string): HutchError {
  return new HutchError(
    "freeze_failed",
    `Cannot freeze the file systems of box "${config.name}": ${reason}`,
    { hint: 'without `consistency: "required"` it is done as if its power had been cut' },
  );
}

function since(from: number): number {
  return Math.round((performance.now() - from) * 10) / 10;
}
