/**
 * What boxes' disks are over: backing disks, which nobody writes to any more, and who needs them.
 *
 * @module
 */
import type { DatabaseSync, SQLInputValue } from "node:sqlite";
import { HutchError } from "../errors.ts";
import { transaction, translated, urgently } from "./database.ts";
import { parseSnapshot, type SnapshotRecord } from "./snapshot_rows.ts";

/** A link of a chain. */
export interface BackingDisk {
  /** Its id, and the name of its folder. */
  readonly id: string;
  /** What it is over; null for the image's disk. */
  readonly parent: string | null;
}

/** Who needs a backing disk. */
export interface BackingUsers {
  /** Boxes whose own disk is right above it, by their ids. */
  readonly boxes: readonly string[];
  /** Ids of snapshots that it is. */
  readonly snapshots: readonly string[];
  /** Backing disks right above it. */
  readonly children: readonly string[];
}

const UNUSED = `SELECT id FROM backing_disks d
  WHERE NOT EXISTS (SELECT 1 FROM backing_disks c WHERE c.parent = d.id)
  AND NOT EXISTS (SELECT 1 FROM box_disks b WHERE b.backing = d.id)
  AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.backing = d.id)`;
const SNAPSHOT = "SELECT box_id, name, backing, record FROM snapshots";

/** The tables of disks and snapshots. Nothing is cached: other programs share them. */
export class DiskTable {
  readonly #database: DatabaseSync;

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** What a box's disk is over, or may be when somebody died at work on it; none: its image's disk. */
  backingsOf(box: string): string[] {
    return this.#texts("SELECT backing AS text FROM box_disks WHERE box_id = ?", box);
  }

  /** A backing disk; undefined if there is none of this id. */
  get(id: string): BackingDisk | undefined {
    const row = this.#all("SELECT id, parent FROM backing_disks WHERE id = ?", id)[0];
    return row && { id: String(row.id), parent: textOrNull(row.parent) };
  }

  /** All ids. */
  ids(): Set<string> {
    return new Set(this.#texts("SELECT id AS text FROM backing_disks"));
  }

  /** From a backing disk down to the one over the image's; none for null. */
  chain(from: string | null): string[] {
    return this.#texts(
      `WITH RECURSIVE chain (id, parent, depth) AS (
         SELECT id, parent, 0 FROM backing_disks WHERE id = ?
         UNION ALL SELECT d.id, d.parent, depth + 1 FROM backing_disks d JOIN chain ON d.id = chain.parent
       ) SELECT id AS text FROM chain ORDER BY depth`,
      from,
    );
  }

  /** Boxes whose disks are, or may be, over a backing disk, with whatever between. */
  boxesOver(id: string): string[] {
    return this.#texts(
      `WITH RECURSIVE above (id) AS (
         SELECT ? UNION SELECT d.id FROM backing_disks d JOIN above ON d.parent = above.id
       ) SELECT DISTINCT box_id AS text FROM box_disks WHERE backing IN (SELECT id FROM above)`,
      id,
    );
  }

  /** Who needs a backing disk. */
  users(id: string): BackingUsers {
    return {
      boxes: this.#texts("SELECT box_id AS text FROM box_disks WHERE backing = ?", id),
      snapshots: this.#texts("SELECT id AS text FROM snapshots WHERE backing = ?", id),
      children: this.#texts("SELECT id AS text FROM backing_disks WHERE parent = ?", id),
    };
  }

  /** Records a backing disk that is to be made of a box's disk, which may be over it from now on. */
  add({ id, parent }: BackingDisk, box: string): void {
    transaction(this.#database, () => {
      this.#run("INSERT INTO backing_disks VALUES (?, ?, ?)", id, parent, now());
      this.#run("INSERT INTO box_disks VALUES (?, ?)", box, id);
    });
  }

  /** A box's disk may be over this one from now on, too. */
  attach(box: string, backing: string): void {
    translated(this.#database, () => {
      this.#run("INSERT OR IGNORE INTO box_disks VALUES (?, ?)", box, backing);
    });
  }

  /** Records what a box's disk is over, and nothing else; null for its image's disk. */
  settle(box: string, backing: string | null): void {
    urgently(this.#database, () => transaction(this.#database, () => this.#settle(box, backing)));
  }

  /** A backing disk is over another one from now on. */
  reparent(id: string, parent: string | null): void {
    translated(this.#database, () => {
      this.#run("UPDATE backing_disks SET parent = ? WHERE id = ?", parent, id);
    });
  }

  /**
   * Forgets the backing disks that nobody needs.
   *
   * @param kept Asked for ids that stay all the same, once some are to go.
   * @returns Their ids: their files are to go.
   */
  collect(kept: () => ReadonlySet<string> = () => new Set()): string[] {
    if (this.#texts(`SELECT id AS text FROM (${UNUSED}) LIMIT 1`).length === 0) return [];
    const stay = kept();
    return urgently(this.#database, () =>
      transaction(this.#database, () => {
        const gone: string[] = [];
        for (;;) {
          const ids = this.#texts(`SELECT id AS text FROM (${UNUSED})`)
            .filter((id) => !stay.has(id));
          if (ids.length === 0) return gone;
          for (const id of ids) this.#run("DELETE FROM backing_disks WHERE id = ?", id);
          gone.push(...ids);
        }
      }));
  }

  /** A box's snapshots, the oldest first. */
  snapshots(box: string): SnapshotRecord[] {
    return this.#all(`${SNAPSHOT} WHERE box_id = ? ORDER BY created_at, name`, box)
      .map(parseSnapshot);
  }

  /** The snapshot with this very name. */
  snapshot(box: string, name: string): SnapshotRecord | undefined {
    return this.#all(`${SNAPSHOT} WHERE box_id = ? AND name = ?`, box, name).map(parseSnapshot)[0];
  }

  /**
   * Records a snapshot.
   *
   * @param options `over`: what the box's own disk is over by now. `write` keeps the snapshot elsewhere
   * too; when it throws, nothing is recorded.
   * @throws HutchError `name_taken`.
   */
  addSnapshot(
    record: SnapshotRecord,
    { over, write }: { readonly over: string | null; readonly write: () => void },
  ): void {
    transaction(this.#database, () => {
      if (this.snapshot(record.box, record.name)) throw snapshotTaken(record.name);
      this.putSnapshot(record);
      this.#settle(record.box, over);
      write();
    });
  }

  /** Records a snapshot whose disk is there, for repairs. */
  putSnapshot(record: SnapshotRecord): void {
    this.#run(
      "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?)",
      record.id,
      record.box,
      record.name,
      record.backing,
      record.createdAt,
      JSON.stringify(record),
    );
  }

  /** Records a backing disk as it says itself, for repairs. */
  put({ id, parent }: BackingDisk): void {
    this.#run(
      `INSERT INTO backing_disks VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET parent = excluded.parent`,
      id,
      parent,
      now(),
    );
  }

  /** Takes records of snapshots away that can't be read. */
  dropDamaged(): void {
    for (const row of this.#all(`${SNAPSHOT}`)) {
      try {
        parseSnapshot(row);
      } catch {
        const { box_id: box, name } = row;
        this.#run(
          "DELETE FROM snapshots WHERE box_id = ? AND name = ?",
          String(box),
          String(name),
        );
      }
    }
  }

  /** Forgets a snapshot; `unwrite` takes it away elsewhere first. */
  removeSnapshot(id: string, unwrite: () => void): void {
    urgently(this.#database, () =>
      transaction(this.#database, () => {
        unwrite();
        this.#run("DELETE FROM snapshots WHERE id = ?", id);
      }));
  }

  /** Whether a box is to become somebody else at its next start. */
  toRenew(box: string): boolean {
    return this.#all("SELECT 1 FROM renewals WHERE box_id = ?", box).length > 0;
  }

  /** It is to become somebody else. */
  renew(box: string): void {
    this.#run("INSERT OR IGNORE INTO renewals VALUES (?)", box);
  }

  /** It has become somebody else. */
  renewed(box: string): void {
    translated(this.#database, () => this.#run("DELETE FROM renewals WHERE box_id = ?", box));
  }

  #settle(box: string, backing: string | null): void {
    this.#run("DELETE FROM box_disks WHERE box_id = ? AND backing IS NOT ?", box, backing);
    if (backing === null) return;
    this.#run("INSERT OR IGNORE INTO box_disks VALUES (?, ?)", box, backing);
  }

  #run(sql: string, ...values: SQLInputValue[]): void {
    this.#database.prepare(sql).run(...values);
  }

  #all(sql: string, ...values: SQLInputValue[]): Record<string, unknown>[] {
    return translated(this.#database, () => this.#database.prepare(sql).all(...values));
  }

  #texts(sql: string, ...values: SQLInputValue[]): string[] {
    return this.#all(sql, ...values).map(({ text }) => String(text));
  }
}

/** What is said of a name that another snapshot of the box has. */
export function snapshotTaken(name: string): HutchError {
  return new HutchError(
    "name_taken",
    `Cannot make snapshot ${JSON.stringify(name)}: the box has one of this name`,
    { hint: "choose another name, or remove that one (hutch snapshot rm)" },
  );
}

function now(): string {
  return new Date().toISOString();
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
