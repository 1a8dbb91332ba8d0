/**
 * Makes a damaged home whole again: the database anew, from what can still be read of the old one,
 * from the boxes' folders and from the images' blobs.
 *
 * @module
 */
import { basename, join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { asNoSpace, exists, removeIfThere } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { openDatabase } from "../state/database.ts";
import { salvage } from "../state/salvage.ts";
import { endKeepers } from "./end_keepers.ts";
import { HomeLock } from "./home_lock.ts";
import { pathsOfHome } from "./home.ts";
import type { Paths } from "./paths.ts";
import { type LostBox, repairBoxes, type RestoredBox } from "./repair_boxes.ts";
import { type LostSnapshot, repairDisks, type RepairedSnapshots } from "./repair_disks.ts";
import { type LostImage, repairImages } from "./repair_images.ts";
import { type LostVolume, type RepairedVolumes, repairVolumes } from "./repair_volumes.ts";

export type {
  LostBox,
  LostImage,
  LostSnapshot,
  LostVolume,
  RepairedSnapshots,
  RepairedVolumes,
  RestoredBox,
};

/** What {@link repairHome} found and did; plain JSON, as `hutch doctor --repair --json` prints it. */
export interface RepairReport {
  /** The home that was repaired. */
  readonly home: string;
  /** What was wrong, in words for people; empty when nothing was, and nothing was changed. */
  readonly problems: readonly string[];
  /** Copies of the damaged files. */
  readonly copies: readonly string[];
  /** What became of its boxes. */
  readonly boxes: {
    /** How many records were whole. */
    readonly kept: number;
    readonly restored: readonly RestoredBox[];
    readonly lost: readonly LostBox[];
  };
  /** What became of its images. */
  readonly images: {
    /** How many references were whole. */
    readonly kept: number;
    /** References, and digests of images that only boxes use. */
    readonly restored: readonly string[];
    readonly lost: readonly LostImage[];
  };
  /** What became of its volumes. */
  readonly volumes: RepairedVolumes;
  /** What became of its snapshots, and of the disks that boxes share. */
  readonly snapshots: RepairedSnapshots;
}

/** Options of {@link repairHome}. */
export interface RepairOptions {
  /** The home to repair. @default {`HUTCH_HOME`, else `~/.hutch`} */
  readonly home?: string;
}

/**
 * Repairs a home that no program has open; its boxes may run meanwhile. A copy of what was damaged is
 * kept beside the database. What can't be restored stays where it is and is told of. Until the last
 * step, a rename, nothing is changed but that.
 *
 * @throws HutchError `home_unusable` when it isn't there or in use, `state_too_new`, `no_space`.
 * @example Repair, and say what is lost
 * ```ts
 * import { repairHome } from "@hutch/hutch";
 * const { problems, boxes } = await repairHome();
 * if (problems.length > 0) console.log(problems, boxes.restored, boxes.lost);
 * ```
 */
export async function repairHome(options: RepairOptions = {}): Promise<RepairReport> {
  const paths = pathsOfHome(options.home);
  const work = join(paths.home, "repair.tmp");
  try {
    await endKeepers(paths);
    using _lock = HomeLock.own(paths.home);
    try {
      await removeIfThere(work); // of a repair that died
      await Deno.mkdir(work, { mode: 0o700 });
      return await repair(paths, work);
    } finally {
      await removeIfThere(work);
    }
  } catch (error) {
    throw explained(error, paths.home);
  }
}

/** What is repaired. */
type Repaired = Pick<RepairReport, "boxes" | "images" | "volumes" | "snapshots">;

async function repair(paths: Paths, work: string): Promise<RepairReport> {
  const problems: string[] = [];
  const [oldPath, newPath] = [join(work, "old.db"), join(work, "new.db")];
  const there = await filesOf(paths.database);
  if (there.includes(paths.database)) {
    for (const path of there) {
      // Not the index of the log, which is made again from it.
      if (!path.endsWith("-shm")) await Deno.copyFile(path, oldPath + suffixOf(path, paths));
    }
  } else {
    problems.push(`${basename(paths.database)} is missing`);
  }
  const made = openDatabase(newPath);
  let done: Repaired;
  try {
    if (problems.length === 0) problems.push(...salvage(oldPath, made).problems);
    done = await restore(paths, made, problems.length === 0);
  } finally {
    made.close();
  }
  const { boxes, images, volumes, snapshots } = done;
  problems.push(
    ...boxes.restored.map(({ name, problem }) => `box ${JSON.stringify(name)}: ${problem}`),
    ...boxes.lost.map(({ folder, problem }) => `${folder}: ${problem}`),
  );
  const changes = [images, volumes, snapshots].flatMap((
    { restored, lost },
  ) => [...restored, ...lost]);
  const whole = problems.length + changes.length === 0;
  const copies = whole ? [] : await replace(paths, newPath, there);
  return { home: paths.home, problems, copies, boxes, images, volumes, snapshots };
}

async function restore(
  paths: Paths,
  database: DatabaseSync,
  trusted: boolean,
): Promise<Repaired> {
  const boxes = await repairBoxes(paths, database, trusted);
  return {
    boxes,
    images: await repairImages(paths, database),
    volumes: repairVolumes(paths, database),
    snapshots: repairDisks(paths, database, boxes.restored.map(({ id }) => id)),
  };
}

/** Keeps copies of the old files, and puts the new one in their place. */
async function replace(
  paths: Paths,
  newPath: string,
  there: readonly string[],
): Promise<string[]> {
  const stamp = new Date().toISOString().replaceAll(/[-:]/g, "").replace(/\.\d+Z$/, "Z");
  let kept = `${paths.database}.damaged-${stamp}`;
  for (let n = 2; (await filesOf(kept)).length > 0; n++) {
    kept = `${paths.database}.damaged-${stamp}-${n}`;
  }
  const copies: string[] = [];
  for (const path of there) {
    const copy = kept + suffixOf(path, paths);
    await Deno.copyFile(path, copy);
    await sync(copy);
    copies.push(copy);
  }
  await sync(newPath);
  // First the old log: in a new database it would be taken for its own.
  await removeIfThere(`${paths.database}-wal`);
  await removeIfThere(`${paths.database}-shm`);
  await Deno.rename(newPath, paths.database);
  await sync(paths.home);
  return copies;
}

/** The files of a database that are there. */
async function filesOf(path: string): Promise<string[]> {
  const found: string[] = [];
  for (const suffix of ["", "-wal", "-shm"]) {
    if (await exists(path + suffix)) found.push(path + suffix);
  }
  return found;
}

function suffixOf(path: string, { database }: Paths): string {
  return path.slice(database.length);
}

async function sync(path: string): Promise<void> {
  using file = await Deno.open(path);
  await file.sync();
}

function explained(error: unknown, home: string): unknown {
  const full = asNoSpace(error, home);
  if (full instanceof HutchError) return full;
  if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) {
    return new HutchError("home_unusable", `Cannot repair home ${home}: ${errorText(error)}`, {
      cause: error,
      hint: "name the home with --home or HUTCH_HOME",
    });
  }
  return error;
}
