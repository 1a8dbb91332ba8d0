/**
 * Records of backing disks and snapshots from their files: each disk says what it is over, and each
 * snapshot's record is beside its box's.
 *
 * @module
 */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { removeIfThereSync } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { backingIdOf, backingPath, keptPath, nextPath } from "../init/box_disk.ts";
import { DiskTable } from "../state/disks.ts";
import { isId, parseSnapshotRecord } from "../state/snapshot_rows.ts";
import { readBoxes } from "../state/restore.ts";
import { boxPaths, type Paths } from "./paths.ts";

/** A snapshot, or a disk, whose record couldn't be rebuilt. */
export interface LostSnapshot {
  /** The file that can't be used. */
  readonly path: string;
  /** Why it is lost. */
  readonly problem: string;
}

/** What became of the snapshots. */
export interface RepairedSnapshots {
  /** How many were as they should be. */
  readonly kept: number;
  /** `BOX SNAPSHOT` of those that were restored. */
  readonly restored: readonly string[];
  /** Those that can't be had back. */
  readonly lost: readonly LostSnapshot[];
}

/**
 * Makes the tables of disks and snapshots whole, once boxes are.
 *
 * @param rebuilt Ids of boxes that had no record.
 */
export function repairDisks(
  paths: Paths,
  database: DatabaseSync,
  rebuilt: readonly string[],
): RepairedSnapshots {
  const table = new DiskTable(database);
  const lost: LostSnapshot[] = [];
  repairBacking(paths, table, lost);
  table.dropDamaged();
  const restored: string[] = [];
  let kept = 0;
  for (const { config } of readBoxes(database).records) {
    const { id, name } = config;
    repairBox(paths, table, id, lost);
    kept += table.snapshots(id).length;
    restored.push(...restoreSnapshots(paths, table, { id, name }, lost));
    const own = boxPaths(paths, id);
    // It has a disk and was never started: it is another one's clone.
    const clone = rebuilt.includes(id) && isThere(own.diskPath) &&
      !isThere(join(own.folder, "machine.json"));
    if (clone) table.renew(id);
  }
  keepForLost(paths, table, new Set(readBoxes(database).records.map(({ config }) => config.id)));
  return { kept, restored, lost };
}

/** Names the disks below those in folders of boxes that have no record. */
function keepForLost(paths: Paths, table: DiskTable, known: ReadonlySet<string>): void {
  const kept = new Set<string>();
  for (const id of namesIn(paths.boxes).filter((name) => isId(name) && !known.has(name))) {
    const own = boxPaths(paths, id);
    try {
      for (const link of table.chain(backingIdOf(paths, own.folder, own.diskPath))) kept.add(link);
    } catch {
      // It has no disk, or one that can't be read.
    }
  }
  const path = keptPath(paths);
  if (kept.size > 0) Deno.writeTextFileSync(path, JSON.stringify([...kept]), { mode: 0o600 });
  else removeIfThereSync(path);
}

/** A row for each backing disk, with what it says that it is over. */
function repairBacking(paths: Paths, table: DiskTable, lost: LostSnapshot[]): void {
  for (const id of namesIn(paths.backing).filter(isId)) {
    const path = backingPath(paths, id);
    try {
      table.put({ id, parent: backingIdOf(paths, join(paths.backing, id), path) });
    } catch (error) {
      if (table.get(id) || !isThere(path)) continue; // its maker died
      lost.push({ path, problem: errorText(error) });
    }
  }
}

/** What a box's disk is over, and the one that is to take its place. */
function repairBox(paths: Paths, table: DiskTable, id: string, lost: LostSnapshot[]): void {
  const own = boxPaths(paths, id);
  for (const path of [own.diskPath, nextPath(own)]) {
    if (!isThere(path)) continue;
    try {
      const backing = backingIdOf(paths, own.folder, path);
      if (backing === null || table.backingsOf(id).includes(backing)) continue;
      // The next one may be over a disk that is yet to be made.
      if (!table.get(backing)) table.put({ id: backing, parent: null });
      table.attach(id, backing);
    } catch (error) {
      lost.push({ path, problem: errorText(error) });
    }
  }
}

function restoreSnapshots(
  paths: Paths,
  table: DiskTable,
  box: { readonly id: string; readonly name: string },
  lost: LostSnapshot[],
): string[] {
  const restored: string[] = [];
  const { snapshotsFolder } = boxPaths(paths, box.id);
  for (const file of namesIn(snapshotsFolder).filter((name) => name.endsWith(".json"))) {
    const path = join(snapshotsFolder, file);
    try {
      const record = parseSnapshotRecord(Deno.readTextFileSync(path));
      if (record.box !== box.id) throw new HutchError("state_corrupt", "it is another box's");
      if (table.snapshot(box.id, record.name)) continue;
      if (record.backing !== null && !table.get(record.backing)) {
        throw new HutchError("state_corrupt", "its disk isn't there");
      }
      table.putSnapshot(record);
      restored.push(`${box.name} ${record.name}`);
    } catch (error) {
      lost.push({ path, problem: errorText(error) });
    }
  }
  return restored;
}

function namesIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
