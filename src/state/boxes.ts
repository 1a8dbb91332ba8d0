/**
 * Records of boxes: an immutable configuration and a mutable state each.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { BoxConfig, BoxStatus } from "../box/options.ts";
import { errorText, HutchError } from "../errors.ts";
import type { PublishedPort } from "../network/ports.ts";
import { type BoxFilter, COLUMNS, listQuery } from "./box_list.ts";
import {
  type DamagedBox,
  damagedError,
  damagedRow,
  givingRows,
  laterRow,
  parseConfig,
  parseRow,
  type Row,
} from "./box_rows.ts";
import { transaction, translated, urgently } from "./database.ts";

/** The mutable part of a box's record. */
export interface BoxState {
  readonly status: BoxStatus;
  /** Process id of the box process, while there is one. */
  readonly pid: number | null;
  /** The host's boot id when it was started. */
  readonly bootId: string | null;
  readonly engine: string | null;
  readonly startedAt: string | null;
  readonly stoppedAt: string | null;
  readonly reason: string | null;
  /** The stage in which the last start failed. */
  readonly stage: string | null;
  /** Of its main command in its last run. */
  readonly exitCode: number | null;
  readonly stages: Readonly<Record<string, number>>;
  /** Ports of this machine that lead to the box, or did while it ran. */
  readonly ports: readonly PublishedPort[];
}

/** A box as it is recorded. */
export interface BoxRecord {
  readonly id: string;
  readonly name: string;
  /** In long lists parsed when it is first asked for. */
  readonly config: BoxConfig;
  readonly state: BoxState;
  /** Grows with every change of the state; a change names the revision it saw. */
  readonly revision: number;
}

/** What a box has that has never been started. */
export const NEW_STATE: BoxState = {
  status: "configured",
  pid: null,
  bootId: null,
  engine: null,
  startedAt: null,
  stoppedAt: null,
  reason: null,
  stage: null,
  exitCode: null,
  stages: {},
  ports: [],
};

/** States in which a box process should be there. */
export const ACTIVE: readonly BoxStatus[] = [
  "starting",
  "running",
  "pausing",
  "paused",
  "stopping",
];

/** States on the way to which a box gives its memory back. */
const ENDS: readonly BoxStatus[] = ["stopping", "stopped", "failed", "crashed"];

/** Columns of a row and their values, as {@link valuesOf} gives them. */
export const VALUES =
  "(id, name, created_at, image_digest, owned, config) VALUES (?, ?, ?, ?, ?, ?)";

const SELECT = `SELECT ${COLUMNS} FROM boxes b JOIN box_states s ON s.box_id = b.id`;

/** Rows whose parsed records are kept. */
const MOST_KNOWN = 64;

/** The table of boxes. Every look reads it, since other programs share it. */
export class BoxRecords {
  readonly #database: DatabaseSync;
  readonly #write: (config: BoxConfig) => void;
  readonly #statements = new Map<string, StatementSync>();
  /** Records by id, each with its row: every command looks its box up, and few rows have changed. */
  readonly #known = new Map<string, { readonly row: Row; readonly record: BoxRecord }>();

  /**
   * Uses an open database.
   *
   * @param write Keeps each configuration elsewhere too, before it is recorded; when it throws,
   * nothing is recorded.
   */
  constructor(database: DatabaseSync, write: (config: BoxConfig) => void = () => {}) {
    this.#database = database;
    this.#write = write;
  }

  /**
   * Adds a box, unless its name is taken: then nothing is added, and that box is returned.
   *
   * @param options `renew`: its disk was another one's, and it is to become somebody else when it first
   * starts.
   */
  add(config: BoxConfig, { renew = false } = {}): BoxRecord | undefined {
    return transaction(this.#database, () => {
      const holder = this.#add(config);
      if (renew && !holder) this.#renew(config);
      return holder;
    });
  }

  /**
   * Adds boxes whose disks are over a backing disk, or null for their image's, and that are to become
   * somebody else when they first start; all of them or none: when a name is taken, by the box that is
   * returned.
   */
  addClones(configs: readonly BoxConfig[], backing: string | null): BoxRecord | undefined {
    return transaction(this.#database, () => {
      for (const { name } of configs) {
        const holder = this.byName(name);
        if (holder) return holder;
      }
      for (const config of configs) {
        this.#add(config);
        if (backing === null) continue;
        this.#prepare("INSERT INTO box_disks VALUES (?, ?)").run(config.id, backing);
        this.#renew(config);
      }
      return undefined;
    });
  }

  #renew({ id }: BoxConfig): void {
    this.#prepare("INSERT INTO renewals VALUES (?)").run(id);
  }

  #add(config: BoxConfig): BoxRecord | undefined {
    const holder = this.byName(config.name);
    if (holder) return holder;
    this.#prepare(`INSERT INTO boxes ${VALUES}`).run(...valuesOf(config));
    this.#prepare("INSERT INTO box_states VALUES (?, ?, 0, NULL, NULL, ?)").run(
      config.id,
      NEW_STATE.status,
      documentOf(NEW_STATE),
    );
    this.#write(config);
    return undefined;
  }

  /**
   * Writes the next version of a box's configuration, made from the one that is recorded.
   *
   * @returns The record as it is now, or undefined if the box is gone.
   * @throws HutchError `name_taken`, and what `change` throws; then nothing has changed.
   */
  reconfigure(id: string, change: (record: BoxRecord) => BoxConfig): BoxRecord | undefined {
    return transaction(this.#database, () => {
      const record = this.byId(id);
      if (!record) return undefined;
      const config = { ...change(record), version: record.config.version + 1 };
      const holder = this.byName(config.name);
      if (holder && holder.config.id !== id) {
        throw new HutchError(
          "name_taken",
          `Cannot rename box "${record.config.name}" to "${config.name}": the name is taken`,
          { hint: `choose another name, or remove that box (hutch rm ${config.name})` },
        );
      }
      this.#prepare("UPDATE boxes SET name = ?, config = ? WHERE id = ?")
        .run(config.name, configText(config), id);
      this.#write(config);
      return { ...record, name: config.name, config };
    });
  }

  /** The box with this very name. */
  byName(name: string): BoxRecord | undefined {
    return this.#all(`${SELECT} WHERE b.name = ?`, [name])[0];
  }

  /** The box with this very id. */
  byId(id: string): BoxRecord | undefined {
    const row = translated(this.#database, () => this.#rows(`${SELECT} WHERE b.id = ?`).get(id));
    if (!row) {
      this.#known.delete(id);
      return undefined;
    }
    const known = this.#known.get(id);
    if (known && sameRow(known.row, row)) return known.record;
    const record = recordOf(row);
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(id, { row, record });
    return record;
  }

  /**
   * Looks a box up by exact id, exact name, or the beginning of its id, in this order.
   *
   * @throws HutchError `box_not_found`, `ambiguous_box`.
   */
  find(text: string): BoxRecord {
    const exact = this.byId(text) ?? this.byName(text);
    if (exact) return exact;
    const matches = /^[0-9a-f]{1,12}$/.test(text)
      ? this.#all(`${SELECT} WHERE b.id >= ? AND b.id < ? ORDER BY b.id LIMIT 10`, [
        text,
        `${text}g`,
      ])
      : [];
    const [only, another] = matches;
    if (only && !another) return only;
    if (only) {
      const list = matches.map(({ config }) => `${config.id} (${config.name})`).join(", ");
      throw new HutchError("ambiguous_box", `Cannot choose a box: "${text}" fits ${list}`, {
        hint: "give more of the id, or the name",
      });
    }
    throw new HutchError(
      "box_not_found",
      `Cannot find box ${JSON.stringify(text)}: there is none`,
      {
        hint: "hutch ls -a lists all boxes",
      },
    );
  }

  /**
   * Boxes that a filter lets through, the oldest first unless it says otherwise.
   *
   * @param options `later`: configurations are parsed when they are first asked for, and throw
   * `state_corrupt` then if they can't be. `onDamaged`: gets each box whose record can't be read, in place
   * of an error.
   */
  list(
    filter: BoxFilter = {},
    { later = false, onDamaged }: {
      readonly later?: boolean;
      readonly onDamaged?: (box: DamagedBox) => void;
    } = {},
  ): BoxRecord[] {
    const { sql, values } = listQuery(filter);
    return this.#all(sql, values, { parse: later ? laterRow : parseRow, onDamaged });
  }

  /** Those of `ids` that no box has. Waits for programs that are adding boxes. */
  unknown(ids: readonly string[]): string[] {
    return transaction(this.#database, () => {
      const one = this.#prepare("SELECT 1 FROM boxes WHERE id = ?");
      return ids.filter((id) => one.get(id) === undefined);
    });
  }

  /** How many boxes there are, those with damaged records included. */
  count(): number {
    const statement = this.#prepare("SELECT count(*) AS count FROM boxes");
    return translated(this.#database, () => Number(statement.get()?.count));
  }

  /** All ids, those of boxes with damaged records included. */
  ids(): Set<string> {
    const statement = this.#prepare("SELECT id FROM boxes ORDER BY created_at");
    const rows = translated(this.#database, () => statement.all());
    return new Set(rows.map((row) => String(row.id)));
  }

  /** Boxes that may have ended unnoticed: active ones, and those that end with their program. */
  uncertain(onDamaged?: (box: DamagedBox) => void): BoxRecord[] {
    const active = ACTIVE.map(() => "?").join(", ");
    return this.#all(
      `${SELECT} WHERE s.status IN (${active})
       UNION ALL ${SELECT} WHERE b.owned = 1 AND s.status NOT IN (${active})`,
      [...ACTIVE, ...ACTIVE],
      { onDamaged },
    );
  }

  /**
   * Changes a box's state, if nobody else did since `revision`.
   *
   * @returns The record as it is now, or undefined if the box is gone or was changed meanwhile.
   */
  change(id: string, revision: number, state: BoxState): BoxRecord | undefined {
    const update = this.#prepare(
      `UPDATE box_states SET status = ?, revision = revision + 1, pid = ?, boot_id = ?, document = ?
       WHERE box_id = ? AND revision = ?`,
    );
    const written = ENDS.includes(state.status) ? urgently : translated;
    const { changes } = written(this.#database, () => {
      return update.run(state.status, state.pid, state.bootId, documentOf(state), id, revision);
    });
    return Number(changes) === 1 ? this.byId(id) : undefined;
  }

  /** Removes a box's record; whether there was one. */
  remove(id: string): boolean {
    const removal = this.#prepare("DELETE FROM boxes WHERE id = ?");
    return urgently(this.#database, () => Number(removal.run(id).changes) > 0);
  }

  /** Records of the rows; a damaged one is an error unless somebody wants to hear of them. */
  #all(
    sql: string,
    values: readonly (string | number)[],
    { parse = parseRow, onDamaged }: {
      readonly parse?: (row: Row) => BoxRecord;
      readonly onDamaged?: ((box: DamagedBox) => void) | undefined;
    } = {},
  ): BoxRecord[] {
    const rows = translated(this.#database, () => this.#rows(sql).all(...values));
    const records: BoxRecord[] = [];
    for (const row of rows) {
      try {
        records.push(parse(row));
      } catch (error) {
        const damaged = damagedRow(row, error);
        if (!onDamaged) throw damagedError(damaged);
        onDamaged(damaged);
      }
    }
    return records;
  }

  #rows(sql: string): ReturnType<typeof givingRows> {
    return givingRows(this.#prepare(sql));
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = translated(this.#database, () => this.#database.prepare(sql));
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** A configuration's row. */
export function valuesOf(config: BoxConfig): (string | number)[] {
  const { id, name, createdAt, image, owned } = config;
  return [id, name, createdAt, image.digest, owned ? 1 : 0, configText(config)];
}

/** As it is written: what couldn't be read again (`Infinity` would come back as null) would lose the box. */
function configText(config: BoxConfig): string {
  const text = JSON.stringify(config);
  try {
    parseConfig(text);
  } catch (error) {
    throw new HutchError(
      "invalid_option",
      `Cannot record box "${config.name}" with these options: ${errorText(error)}`,
      { cause: error },
    );
  }
  return text;
}

function recordOf(row: Row): BoxRecord {
  try {
    return parseRow(row);
  } catch (error) {
    throw damagedError(damagedRow(row, error));
  }
}

function sameRow(one: Row, other: Row): boolean {
  return one.every((value, at) => value === other[at]);
}

/** The part of a state that has no column. */
export function documentOf(state: BoxState): string {
  const { engine, startedAt, stoppedAt, reason, stage, exitCode, stages, ports } = state;
  return JSON.stringify({ engine, startedAt, stoppedAt, reason, stage, exitCode, stages, ports });
}
