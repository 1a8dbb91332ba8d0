/**
 * The machine of a box that runs: letting it go on, and whether it stands still.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import type { MachineHandle, MachinePauser } from "../vmm/engine.ts";
import { processPauser } from "../vmm/pauser.ts";
import type { BoxContext } from "./context.ts";

/** Lets the machine of a paused box go on, for the caller to record. */
export async function continueMachine(context: BoxContext, record: BoxRecord): Promise<void> {
  const { pauser, machine } = machineOf(context, record);
  try {
    await pauser.resume(machine);
  } catch (error) {
    throw pauseFailure("resume", record, error);
  }
}

/**
 * Whether the machine of a box, which is there, stands still; undefined when that can't be found
 * out.
 */
export async function livingStatus(
  context: BoxContext,
  record: BoxRecord,
): Promise<"running" | "paused" | undefined> {
  try {
    const { pauser, machine } = machineOf(context, record);
    return await pauser.isPaused(machine) ? "paused" : "running";
  } catch (error) {
    context.log(`box "${record.config.name}": ${errorText(error)}`);
    return undefined;
  }
}

/**
 * What a box's engine pauses with, and on what.
 *
 * @throws HutchError `box_state` when the engine isn't in this program.
 */
export function machineOf(
  { engines, paths }: BoxContext,
  { config, state }: BoxRecord,
): { pauser: MachinePauser; machine: MachineHandle } {
  const engine = engines.find(({ name }) => name === state.engine);
  if (!engine || state.pid === null) {
    throw new HutchError(
      "box_state",
      `Cannot reach the machine of box "${config.name}": its engine "${state.engine}" isn't here`,
      { hint: "open the runtime with the plugin that brings the engine" },
    );
  }
  const { controlPath } = boxPaths(paths, config.id);
  return { pauser: engine.pauser ?? processPauser, machine: { pid: state.pid, controlPath } };
}

/** A failure to pause or resume, with the box's name. */
export function pauseFailure(what: string, { config }: BoxRecord, cause: unknown): HutchError {
  const hint = cause instanceof HutchError ? cause.hint : undefined;
  return new HutchError(
    cause instanceof HutchError ? cause.code : "box_state",
    `Cannot ${what} box "${config.name}": ${errorText(cause)}`,
    { cause, ...(hint === undefined ? {} : { hint }) },
  );
}
