/**
 * Pausing and resuming a box, from any program that shares its home.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { continueMachine, livingStatus, machineOf, pauseFailure } from "./box_machine.ts";
import { changeState } from "./change.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";

/** Lets a box's machine stand still. No-op when it does. */
export async function pauseBox(context: BoxContext, id: string): Promise<BoxRecord> {
  using held = await holdBox(context, id, "pause");
  const { record } = held;
  if (record.state.status === "paused") return record;
  const { pauser, machine } = machineOf(context, record);
  const pausing = changeState(context, record, { ...record.state, status: "pausing" });
  try {
    await pauser.pause(machine);
  } catch (error) {
    await goOn(context, pausing);
    throw pauseFailure("pause", record, error);
  }
  const paused = changeState(context, pausing, { ...record.state, status: "paused" });
  context.plugins.emit("box.paused", { box: id, name: record.config.name });
  return paused;
}

/** Lets it go on. No-op when it does. */
export async function resumeBox(context: BoxContext, id: string): Promise<BoxRecord> {
  using held = await holdBox(context, id, "resume");
  const { record } = held;
  if (record.state.status === "running") return record;
  await continueMachine(context, record);
  const running = changeState(context, record, { ...record.state, status: "running" });
  context.plugins.emit("box.resumed", { box: id, name: record.config.name });
  return running;
}

/** After a pause that failed: the machine goes on if it can, and the record says how it is. */
async function goOn(context: BoxContext, pausing: BoxRecord): Promise<void> {
  try {
    await continueMachine(context, pausing);
  } catch (error) {
    context.log(errorText(error)); // the pause's own error is the one that counts
  }
  const status = await livingStatus(context, pausing);
  if (status) changeState(context, pausing, { ...pausing.state, status });
}
