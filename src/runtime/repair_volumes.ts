/**
 * Records of named volumes from their folders.
 *
 * @module
 */
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { errorText } from "../errors.ts";
import { VolumeTable } from "../state/volumes.ts";
import type { Paths } from "./paths.ts";
import { readRecord } from "./volume_files.ts";

/** A volume that has no record any more; its files are still there. */
export interface LostVolume {
  /** Its folder. */
  readonly folder: string;
  /** Why it is lost. */
  readonly problem: string;
}

/** What became of the named volumes. */
export interface RepairedVolumes {
  /** How many were as they should be. */
  readonly kept: number;
  /** Names of those that were restored. */
  readonly restored: readonly string[];
  /** Those that can't be had back. */
  readonly lost: readonly LostVolume[];
}

/** Makes the table of volumes whole. */
export function repairVolumes({ volumes }: Paths, database: DatabaseSync): RepairedVolumes {
  const table = new VolumeTable(database);
  table.dropDamaged();
  const known = new Set(table.list().map(({ name }) => name));
  const restored: string[] = [];
  const lost: LostVolume[] = [];
  for (const name of foldersIn(volumes)) {
    if (known.has(name)) continue;
    const folder = join(volumes, name);
    try {
      const record = readRecord(folder);
      if (record.name !== name) throw new Error(`it is of ${JSON.stringify(record.name)}`);
      table.add(name, () => record);
      restored.push(name);
    } catch (error) {
      lost.push({ folder, problem: `its volume.json can't be read: ${errorText(error)}` });
    }
  }
  return { kept: known.size, restored, lost };
}

function foldersIn(volumes: string): string[] {
  try {
    return [...Deno.readDirSync(volumes)]
      .filter(({ name, isDirectory }) => isDirectory && !name.startsWith("."))
      .map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
