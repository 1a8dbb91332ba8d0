/**
 * Leaving a box's disk as it is: it becomes a backing disk, and the box goes on in a new one over it.
 *
 * @module
 */
import { exists, removeIfThere, syncPath } from "../atomic_file.ts";
import {
  backingPath,
  isPristine,
  nextPath,
  type OwnDisk,
  placeOverlay,
  retire,
  settleDisk,
} from "../init/box_disk.ts";
import { HutchError } from "../errors.ts";
import { boxPaths } from "../runtime/paths.ts";
import { ACTIVE, type BoxRecord } from "../state/boxes.ts";
import { copyDisk } from "./copy_disk.ts";
import { randomId } from "./config.ts";
import type { BoxContext } from "./context.ts";
import { machineOf } from "./box_machine.ts";
import { quiesced } from "./quiesce.ts";
import type { QuiesceOptions, QuiesceReport } from "./snapshot_options.ts";

/** The box's own among its machine's disks. */
const OWN_DISK = 1;

/** A box's disk as it was at a moment. */
export interface TakenDisk {
  /** The backing disk that it is; null for the image's disk. */
  readonly backing: string | null;
  /** What the box's own disk is over by now. */
  readonly over: string | null;
  readonly report: QuiesceReport;
}

/** The disk of a box. */
export function ownDisk({ paths }: Pick<BoxContext, "paths">, { config }: BoxRecord): OwnDisk {
  return { id: config.id, own: boxPaths(paths, config.id), diskMiB: config.diskMiB };
}

/**
 * Takes a box's disk, for whoever holds the box. What it gives is safe from being removed as long as
 * the box's disk is recorded as over it: until `settle`, or a snapshot is recorded.
 *
 * @param options `within` runs while a box that runs stands still, right after its disk was left; when
 * it throws, so does this, and the box's disk is in order all the same.
 * @throws HutchError `no_space`, `freeze_failed`, `box_state`.
 */
export async function takeDisk(
  context: BoxContext,
  record: BoxRecord,
  options: QuiesceOptions & { readonly within?: (() => Promise<void>) | undefined },
): Promise<TakenDisk> {
  const disk = ownDisk(context, record);
  await settleDisk(context, disk);
  const below = context.disks.backingsOf(disk.id)[0] ?? null;
  if (!ACTIVE.includes(record.state.status)) {
    const report = { consistency: "stopped", reason: null, freezeMs: 0, pausedMs: 0 } as const;
    if (isPristine(disk.own.diskPath)) return { backing: below, over: below, report };
    const backing = await leave(context, disk, below, () => Promise.resolve(undefined));
    return { backing, over: backing, report };
  }
  if (!await exists(disk.own.diskPath)) {
    throw new HutchError(
      "box_state",
      `Cannot take the disk of box "${record.config.name}": a plugin gave it another one`,
    );
  }
  const engine = context.engines.find(({ name }) => name === record.state.engine);
  let report: QuiesceReport | undefined;
  const still = async <T>(body: () => Promise<T>): Promise<T> => {
    const { value, ...how } = await quiesced(context, record, options, body);
    report = how;
    return value;
  };
  const { machine } = machineOf(context, record);
  const change = engine?.diskSwitch;
  const backing = change
    ? await leave(
      context,
      disk,
      below,
      (path) =>
        still(async () => {
          const problem = await change.switchDisk(machine, { disk: OWN_DISK, path });
          if (problem === undefined) await options.within?.();
          return problem;
        }),
    )
    : await copy(context, disk, below, still);
  if (!report) throw new Error("the box didn't stand still");
  return { backing, over: change ? backing : below, report };
}

/**
 * The disk's file becomes the backing disk.
 *
 * @param change Lets the machine go on in the next one; see `MachineDiskSwitch`.
 */
async function leave(
  context: BoxContext,
  disk: OwnDisk,
  parent: string | null,
  change: (path: string) => Promise<string | undefined>,
): Promise<string> {
  const id = randomId();
  const next = nextPath(disk.own);
  const below = { path: backingPath(context.paths, id), format: "qcow2" } as const;
  await placeOverlay(next, below, disk.diskMiB * 2 ** 20);
  let problem: string | undefined;
  let surely = true;
  try {
    context.disks.add({ id, parent }, disk.id);
    surely = false;
    problem = await change(next);
  } catch (error) {
    // Where the machine may write to either file, going on is right for both.
    if (surely || isRefusal(error)) await undo(context, disk, parent);
    else await retire(context, disk, id);
    throw error;
  }
  if (problem !== undefined) {
    await undo(context, disk, parent);
    throw new HutchError("box_state", `Cannot take the disk of box ${disk.id}: ${problem}`);
  }
  await retire(context, disk, id);
  return id;
}

/** Whether the machine was never told: it couldn't be made to stand still. */
function isRefusal(error: unknown): boolean {
  return error instanceof HutchError && error.code === "freeze_failed";
}

async function undo(context: BoxContext, disk: OwnDisk, parent: string | null): Promise<void> {
  await removeIfThere(nextPath(disk.own));
  context.disks.settle(disk.id, parent);
  context.disks.collect(); // it has no files
}

/** For machines that can't leave their file: the backing disk is a copy. */
async function copy(
  context: BoxContext,
  disk: OwnDisk,
  parent: string | null,
  still: <T>(body: () => Promise<T>) => Promise<T>,
): Promise<string> {
  const id = randomId();
  const path = backingPath(context.paths, id);
  context.disks.add({ id, parent }, disk.id);
  try {
    await still(() => copyDisk(disk.own.diskPath, path));
    await syncPath(path);
    return id;
  } catch (error) {
    context.disks.settle(disk.id, parent);
    context.disks.collect();
    await removeIfThere(`${context.paths.backing}/${id}`);
    throw error;
  }
}
