/**
 * The one way to a box's next state: along the table of {@link NEXT}.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { BoxRecord, BoxState } from "../state/boxes.ts";
import type { BoxContext } from "./context.ts";
import { assertNext } from "./transitions.ts";

/** Records a state, unless somebody else has changed the box since `record` was read. */
export function changeSeen(
  { records }: BoxContext,
  { config, revision, state: from }: BoxRecord,
  to: BoxState,
): BoxRecord | undefined {
  assertNext(from.status, to.status);
  return records.change(config.id, revision, to);
}

/**
 * Records a state, for whoever holds the box's operation lock.
 *
 * @throws HutchError `box_not_found` when the box was removed meanwhile.
 */
export function changeState(context: BoxContext, record: BoxRecord, to: BoxState): BoxRecord {
  let seen: BoxRecord | undefined = record;
  while (seen) {
    const changed = changeSeen(context, seen, to);
    if (changed) return changed;
    seen = context.records.byId(record.config.id); // changed by somebody who read it before us
  }
  throw removed(record.config.name);
}

/** What every operation on a box says when it was removed. */
export function removed(name: string): HutchError {
  return new HutchError("box_not_found", `Cannot find box "${name}": it was removed`, {
    hint: "hutch ls -a lists all boxes",
  });
}
