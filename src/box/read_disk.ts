/**
 * Reading a box's disk as it was at a moment, while the box goes on.
 *
 * The disk is taken as for a snapshot, and opened. From then on nothing of it is looked for by its name,
 * so whatever becomes of the box, and of its files, is no matter; and of a program that is killed nothing
 * stays but a link of the box's own chain.
 *
 * @module
 */
import { backingPath, collectDisks, putBack } from "../init/box_disk.ts";
import { errorText } from "../errors.ts";
import { FileLock } from "../file_lock.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import type { Consistency } from "../state/snapshot_rows.ts";
import type { BoxContext } from "./context.ts";
import { type BoxDiskFiles, boxDiskFiles } from "./disk_files.ts";
import { holdBox } from "./hold.ts";
import { ownDisk, takeDisk } from "./take_disk.ts";

/** A box, and its disk as it was. */
export interface ReadBox<D> {
  /** As it was at that moment. */
  readonly record: BoxRecord;
  /** How its disk came to be as it is. */
  readonly consistency: Consistency;
  /** What `open` gave; undefined where the disk has nothing over its image's. */
  readonly disk: D | undefined;
}

/** How {@link readBoxDisk} reads. */
export interface DiskReader<D extends Disposable, T> {
  readonly operation: "export" | "commit";
  readonly signal: AbortSignal;
  /** Opens all that will be read, while nobody changes the box but its machine. */
  open(files: BoxDiskFiles): D | Promise<D>;
  /** Reads it; by then the box is anybody's again. */
  use(box: ReadBox<D>): Promise<T>;
}

/**
 * Takes a box's disk, and reads it.
 *
 * @throws HutchError `box_not_found`, `box_state`, `no_space`, and what `open` and `use` throw.
 */
export async function readBoxDisk<D extends Disposable, T>(
  context: BoxContext,
  id: string,
  reader: DiskReader<D, T>,
): Promise<T> {
  const taken = await takeOpen(context, id, reader);
  try {
    using _disk = taken.resources;
    return await reader.use(taken.box);
  } finally {
    if (taken.backing !== null) await giveBack(context, id, taken.backing);
  }
}

interface Taken<D> {
  readonly box: ReadBox<D>;
  /** The backing disk that is read; null for the image's disk. */
  readonly backing: string | null;
  readonly resources: Disposable;
}

async function takeOpen<D extends Disposable, T>(
  context: BoxContext,
  id: string,
  { operation, open, signal }: DiskReader<D, T>,
): Promise<Taken<D>> {
  using held = await holdBox(context, id, operation);
  const { record } = held;
  using resources = new DisposableStack();
  const image = await context.imageManager.hold(record.config.image.digest, signal);
  if (image) resources.use(image);
  const { backing, over, report } = await takeDisk(context, record, {});
  try {
    let disk: D | undefined;
    if (backing !== null) {
      const path = backingPath(context.paths, backing);
      // Shared, and seen by `putBack`: what is read stays as it is.
      const file = resources.use(await Deno.open(path));
      await file.lock(false);
      disk = await open(await boxDiskFiles(context, record.config, { path, signal }));
      resources.use(disk);
    }
    return {
      box: { record, consistency: report.consistency, disk },
      backing,
      resources: resources.move(),
    };
  } finally {
    context.disks.settle(id, over);
    if (backing !== over) await collectDisks(context); // a copy, which is open
  }
}

/**
 * A box that wasn't written to meanwhile, and doesn't run, gets its disk back; the links of others are
 * merged by and by.
 */
async function giveBack(context: BoxContext, id: string, backing: string): Promise<void> {
  try {
    using lock = FileLock.try(boxPaths(context.paths, id).operationLockPath);
    const record = context.records.byId(id);
    if (lock && record && !ACTIVE.includes(record.state.status)) {
      await putBack(context, ownDisk(context, record), backing);
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return; // it was removed
    context.log(`the disk of box ${id}: ${errorText(error)}`); // all the same it is whole
  }
  context.shorten(id);
}
