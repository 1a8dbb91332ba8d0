/**
 * Records of boxes: an immutable configuration and a mutable state each.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import type { BoxConfig, BoxStatus } from "../box/options.ts";
import { errorText, HutchError } from "../errors.ts";
import { transaction, translated } from "./database.ts";

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
  readonly stages: Readonly<Record<string, number>>;
}

/** A box as it is recorded. */
export interface BoxRecord {
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
  stages: {},
};

/** States in which a box process should be there. */
export const ACTIVE: readonly BoxStatus[] = ["starting", "running", "stopping"];

/** Which boxes {@link BoxRecords.list} gives. */
export interface BoxFilter {
  /** Only these states. */
  readonly statuses?: readonly BoxStatus[];
  /** Only boxes that have all these labels. */
  readonly labels?: Readonly<Record<string, string>>;
}

const SELECT = `
  SELECT b.config, s.status, s.revision, s.pid, s.boot_id, s.document
  FROM boxes b JOIN box_states s ON s.box_id = b.id`;

/** The table of boxes. Nothing is cached: other programs share it. */
export class BoxRecords {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /**
   * Adds a box.
   *
   * @throws HutchError `name_taken`.
   */
  add(config: BoxConfig): void {
    transaction(this.#database, () => {
      this.refuseTaken(config.name);
      this.#prepare("INSERT INTO boxes VALUES (?, ?, ?, ?, ?, ?)").run(
        config.id,
        config.name,
        config.createdAt,
        config.image.digest,
        config.owned ? 1 : 0,
        JSON.stringify(config),
      );
      this.#prepare("INSERT INTO box_states VALUES (?, ?, 0, NULL, NULL, ?)").run(
        config.id,
        NEW_STATE.status,
        documentOf(NEW_STATE),
      );
    });
  }

  /** Throws `name_taken` if a box has this name. */
  refuseTaken(name: string): void {
    if (!this.#byName(name)) return;
    throw new HutchError("name_taken", `Cannot create box "${name}": the name is taken`, {
      hint:
        `remove that box (hutch rm ${name}), start it (hutch start ${name}), or choose another name`,
    });
  }

  /** The box with this very id. */
  byId(id: string): BoxRecord | undefined {
    return recordOf(this.#prepare(`${SELECT} WHERE b.id = ?`).get(id));
  }

  /**
   * Looks a box up by exact id, exact name, or the beginning of its id, in this order.
   *
   * @throws HutchError `box_not_found`, `ambiguous_box`.
   */
  find(text: string): BoxRecord {
    const exact = this.byId(text) ?? this.#byName(text);
    if (exact) return exact;
    const matches = /^[0-9a-f]{1,12}$/.test(text)
      ? this.#prepare(`${SELECT} WHERE b.id >= ? AND b.id < ? ORDER BY b.id LIMIT 10`)
        .all(text, `${text}g`).map(recordOf).filter((record) => record !== undefined)
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

  /** Boxes in the order of their creation. */
  list(filter: BoxFilter = {}): BoxRecord[] {
    const conditions: string[] = [];
    const values: string[] = [];
    if (filter.statuses) {
      conditions.push(`s.status IN (${filter.statuses.map(() => "?").join(", ")})`);
      values.push(...filter.statuses);
    }
    for (const [key, value] of Object.entries(filter.labels ?? {})) {
      conditions.push(
        `EXISTS (SELECT 1 FROM json_each(b.config, '$.labels') WHERE key = ? AND value = ?)`,
      );
      values.push(key, value);
    }
    const where = conditions.length > 0 ? ` WHERE ${conditions.join(" AND ")}` : "";
    return this.#prepare(`${SELECT}${where} ORDER BY b.created_at, b.id`)
      .all(...values).map(recordOf).filter((record) => record !== undefined);
  }

  /** Boxes that may have ended unnoticed: active ones, and those that end with their program. */
  uncertain(): BoxRecord[] {
    const active = ACTIVE.map(() => "?").join(", ");
    return this.#prepare(
      `${SELECT} WHERE s.status IN (${active})
       UNION ALL ${SELECT} WHERE b.owned = 1 AND s.status NOT IN (${active})`,
    ).all(...ACTIVE, ...ACTIVE).map(recordOf).filter((record) => record !== undefined);
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
    const { changes } = translated(this.#database, () => {
      return update.run(state.status, state.pid, state.bootId, documentOf(state), id, revision);
    });
    return Number(changes) === 1 ? this.byId(id) : undefined;
  }

  /** Removes a box's record; whether there was one. */
  remove(id: string): boolean {
    const removal = this.#prepare("DELETE FROM boxes WHERE id = ?");
    return translated(this.#database, () => Number(removal.run(id).changes) > 0);
  }

  #byName(name: string): BoxRecord | undefined {
    return recordOf(this.#prepare(`${SELECT} WHERE b.name = ?`).get(name));
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = translated(this.#database, () => this.#database.prepare(sql));
    this.#statements.set(sql, statement);
    return statement;
  }
}

function documentOf(state: BoxState): string {
  const { engine, startedAt, stoppedAt, reason, stages } = state;
  return JSON.stringify({ engine, startedAt, stoppedAt, reason, stages });
}

function recordOf(row: Record<string, unknown> | undefined): BoxRecord | undefined {
  if (!row) return undefined;
  try {
    return {
      config: JSON.parse(String(row.config)),
      revision: Number(row.revision),
      state: {
        ...JSON.parse(String(row.document)),
        status: row.status,
        pid: row.pid,
        bootId: row.boot_id,
      },
    };
  } catch (error) {
    throw new HutchError("state_corrupt", `Cannot read a box's record: ${errorText(error)}`, {
      cause: error,
      hint: "remove the box, or use another home with HUTCH_HOME",
    });
  }
}
