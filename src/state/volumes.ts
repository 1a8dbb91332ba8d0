/**
 * Records of named volumes, and which boxes have them.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { errorText, HutchError } from "../errors.ts";
import { transaction, translated, urgently } from "./database.ts";

/** A named volume as it is recorded; plain JSON. */
export interface VolumeRecord {
  /** Its name. */
  readonly name: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Labels by their keys. */
  readonly labels: Readonly<Record<string, string>>;
  /** Size of its disk in `MiB`; null for a folder, which has no limit. */
  readonly sizeMiB: number | null;
}

/** A box that has a volume. */
export interface VolumeUser {
  /** The box's id. */
  readonly id: string;
  /** Its name. */
  readonly name: string;
}

/** The table of named volumes. Nothing is cached: other programs share it. */
export class VolumeTable {
  readonly #database: DatabaseSync;

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** The volume with this very name. */
  get(name: string): VolumeRecord | undefined {
    const row = translated(
      this.#database,
      () => this.#database.prepare("SELECT record FROM volumes WHERE name = ?").get(name),
    );
    return row && recordOf(name, row.record);
  }

  /** All of them, by name. */
  list(): VolumeRecord[] {
    const rows = translated(
      this.#database,
      () => this.#database.prepare("SELECT name, record FROM volumes ORDER BY name").all(),
    );
    return rows.map(({ name, record }) => recordOf(String(name), record));
  }

  /**
   * Records a volume, unless its name is known.
   *
   * @param place Puts its files in place, and says what they are: those that are there already count.
   * @returns The volume that has the name now.
   */
  add(name: string, place: () => VolumeRecord): VolumeRecord {
    return transaction(this.#database, () => {
      const record = place();
      this.#database.prepare("INSERT OR IGNORE INTO volumes VALUES (?, ?, ?)")
        .run(name, record.createdAt, JSON.stringify(record));
      return this.get(name) ?? record;
    });
  }

  /** The boxes that have a volume, by their names. */
  users(name: string): VolumeUser[] {
    const rows = translated(this.#database, () =>
      this.#database.prepare(
        `SELECT b.id, b.name FROM box_volumes v JOIN boxes b ON b.id = v.box_id
         WHERE v.volume = ? ORDER BY b.name`,
      ).all(name));
    return rows.map((row) => ({ id: String(row.id), name: String(row.name) }));
  }

  /**
   * Takes the record of a volume away that no box has.
   *
   * @param displace Takes its files out of their place, while no box can come to have it.
   * @returns The boxes that have it: then nothing was done.
   */
  remove(name: string, displace: () => void): VolumeUser[] {
    const users = this.users(name);
    if (users.length > 0) return users;
    return urgently(this.#database, () =>
      transaction(this.#database, () => {
        const now = this.users(name);
        if (now.length > 0) return now;
        displace();
        this.#database.prepare("DELETE FROM volumes WHERE name = ?").run(name);
        return [];
      }));
  }

  /** Takes records away that can't be read; their names. */
  dropDamaged(): string[] {
    const rows = this.#database.prepare("SELECT name, record FROM volumes").all();
    const damaged = rows.filter(({ name, record }) => {
      try {
        return recordOf(String(name), record).name === "";
      } catch {
        return true;
      }
    }).map(({ name }) => String(name));
    for (const name of damaged) {
      this.#database.prepare("DELETE FROM volumes WHERE name = ?").run(name);
    }
    return damaged;
  }
}

/** Reads a record, as it is in the table and beside the volume's files. */
export function parseVolumeRecord(text: string): VolumeRecord {
  const { name, createdAt, labels, sizeMiB = null } = JSON.parse(text) ?? {};
  const good = typeof name === "string" && typeof createdAt === "string" &&
    typeof labels === "object" && labels !== null &&
    Object.values(labels).every((value) => typeof value === "string") &&
    (sizeMiB === null || Number.isSafeInteger(sizeMiB));
  if (good) return { name, createdAt, labels, sizeMiB };
  throw new HutchError("state_corrupt", "it isn't the record of a volume");
}

function recordOf(name: string, text: unknown): VolumeRecord {
  try {
    const record = parseVolumeRecord(String(text));
    if (record.name === name) return record;
    throw new HutchError("state_corrupt", `it is of ${JSON.stringify(record.name)}`);
  } catch (error) {
    throw new HutchError(
      "state_corrupt",
      `Cannot read the record of volume ${JSON.stringify(name)}: ${errorText(error)}`,
      { cause: error, hint: "repair it (hutch doctor --repair), which keeps a copy" },
    );
  }
}
