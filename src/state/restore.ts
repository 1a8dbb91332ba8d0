/**
 * Writing records of boxes anew, for repairs.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import type { BoxConfig } from "../box/options.ts";
import { COLUMNS } from "./box_list.ts";
import {
  configOf,
  type DamagedBox,
  damagedRow,
  givingRows,
  parseRow,
  type Row,
} from "./box_rows.ts";
import { type BoxRecord, type BoxState, documentOf, VALUES, valuesOf } from "./boxes.ts";
import { transaction } from "./database.ts";

/** What is in the tables of boxes, whole or not. */
export interface ReadBoxes {
  readonly records: readonly BoxRecord[];
  /** With a configuration that can be read, but no state. */
  readonly stateless: readonly BoxConfig[];
  readonly damaged: readonly DamagedBox[];
}

/** Reads all boxes, also those without a state. */
export function readBoxes(database: DatabaseSync): ReadBoxes {
  const records: BoxRecord[] = [];
  const stateless: BoxConfig[] = [];
  const damaged: DamagedBox[] = [];
  const rows = givingRows(database.prepare(
    `SELECT ${COLUMNS} FROM boxes b LEFT JOIN box_states s ON s.box_id = b.id ORDER BY b.created_at`,
  )).all();
  for (const row of rows) {
    try {
      records.push(parseRow(row));
    } catch (error) {
      const config = readableConfig(row);
      if (config) stateless.push(config);
      else damaged.push(damagedRow(row, error));
    }
  }
  return { records, stateless, damaged };
}

/**
 * Records a box as it is said to be, in place of what is recorded under its id.
 *
 * @returns Whether that was done: not when another box has its name.
 */
export function restoreBox(database: DatabaseSync, config: BoxConfig, state: BoxState): boolean {
  return transaction(database, () => {
    const holder = database.prepare("SELECT id FROM boxes WHERE name = ?").get(config.name);
    if (holder && holder.id !== config.id) return false;
    database.prepare(
      `INSERT INTO boxes ${VALUES} ON CONFLICT (id) DO UPDATE SET
       name = excluded.name, created_at = excluded.created_at, image_digest = excluded.image_digest,
       owned = excluded.owned, config = excluded.config`,
    ).run(...valuesOf(config));
    database.prepare(
      `INSERT INTO box_states (box_id, status, revision, pid, boot_id, document)
       VALUES (?, ?, 0, ?, ?, ?) ON CONFLICT (box_id) DO UPDATE SET
       status = excluded.status, revision = revision + 1, pid = excluded.pid,
       boot_id = excluded.boot_id, document = excluded.document`,
    ).run(config.id, state.status, state.pid, state.bootId, documentOf(state));
    return true;
  });
}

/** Takes a record away that nothing can be made of. */
export function dropBox(database: DatabaseSync, id: string): void {
  database.prepare("DELETE FROM boxes WHERE id = ?").run(id);
}

function readableConfig(row: Row): BoxConfig | undefined {
  try {
    return configOf(row);
  } catch {
    return undefined;
  }
}
