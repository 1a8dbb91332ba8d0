/**
 * Finding a box's snapshot by its name.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { DiskTable } from "../state/disks.ts";
import type { SnapshotRecord } from "../state/snapshot_rows.ts";
import { nearest } from "../suggest.ts";

/**
 * A snapshot of a box.
 *
 * @throws HutchError `snapshot_not_found`, with the name that may have been meant.
 */
export function findSnapshot(
  disks: DiskTable,
  box: { readonly id: string; readonly name: string },
  name: string,
): SnapshotRecord {
  const record = disks.snapshot(box.id, name);
  if (record) return record;
  const near = nearest(name, disks.snapshots(box.id).map((each) => each.name));
  throw new HutchError(
    "snapshot_not_found",
    `Cannot find snapshot ${JSON.stringify(name)} of box "${box.name}": there is none`,
    {
      hint: near === undefined
        ? `hutch snapshot ls ${box.name} lists all`
        : `did you mean ${JSON.stringify(near)}?`,
    },
  );
}
