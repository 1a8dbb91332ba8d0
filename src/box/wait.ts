/**
 * Waiting for what becomes of a box, whoever brings it about.
 *
 * @module
 */
import { sleep } from "../images/wait.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import { isAlive } from "../vmm/machine.ts";
import { removed } from "./change.ts";
import type { BoxContext } from "./context.ts";
import type { BoxStatus } from "./options.ts";
import { reconcile } from "./reconcile.ts";
import { stepOf } from "./transitions.ts";

/** Time between two looks at the box, in `ms`: the first, and the longest. */
const LOOK_MS = { first: 10, most: 200 };

/** Options of {@link Box.wait}. */
export interface BoxWaitOptions {
  /** The state, or one of the states, to wait for. @default {any in which it doesn't run} */
  readonly for?: BoxStatus | readonly BoxStatus[];
  /** Cancels the waiting. */
  readonly signal?: AbortSignal;
}

/**
 * Waits until a box is in a wanted state. Other programs change it too, and nobody would tell: so it
 * looks.
 *
 * @throws HutchError `box_not_found` when it is or gets removed, `cancelled`.
 */
export async function waitForBox(
  context: BoxContext,
  { id, name }: { readonly id: string; readonly name: string },
  wanted: BoxWaitOptions["for"],
  signal: AbortSignal,
): Promise<BoxRecord> {
  const { lockPath } = boxPaths(context.paths, id);
  const statuses = wanted === undefined ? undefined : [wanted].flat();
  for (let pause = LOOK_MS.first;; pause = Math.min(pause * 1.5, LOOK_MS.most)) {
    const record = context.records.byId(id);
    // The machine of a box that lives needn't be asked: whoever changes it writes it down.
    const now = record && (isAlive(lockPath) ? record : await reconcile(context, record, false));
    if (!now) throw removed(name);
    stepOf("wait", now);
    const { status } = now.state;
    if (statuses ? statuses.includes(status) : !ACTIVE.includes(status)) return now;
    await sleep(pause, signal);
  }
}
