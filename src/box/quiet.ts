/**
 * Holding a box still, so that its disk can be read.
 *
 * @module
 */
import { ACTIVE } from "../state/boxes.ts";
import type { BoxRecord } from "../state/boxes.ts";
import type { Consistency } from "../state/snapshot_rows.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";
import { quiesced } from "./quiesce.ts";

/** A box that stands still. */
export interface QuietBox {
  readonly record: BoxRecord;
  /** How its disk came to be as it is. */
  readonly consistency: Consistency;
}

/**
 * Does something while nobody changes the box, nor its disk: of one that runs, the file systems are
 * frozen and the machine stands still.
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
  if (!ACTIVE.includes(record.state.status)) return await work({ record, consistency: "stopped" });
  const { value } = await quiesced(
    context,
    record,
    {},
    (consistency) => work({ record, consistency }),
  );
  return value;
}
