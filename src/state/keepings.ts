/**
 * What keepers go by: which boxes want one, how often they were restarted, how well they are.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import type { HealthStatus } from "../box/options.ts";
import { errorText, HutchError } from "../errors.ts";
import { translated, urgently } from "./database.ts";

/** A box's keeping. */
export interface Keeping {
  /** It was started and nobody has ended it on purpose since: its policy may start it again. */
  readonly kept: boolean;
  /** It outlives the program that started it, and its keeper does too. */
  readonly detached: boolean;
  /** What its checks said last; stale when it doesn't run. */
  readonly health: HealthStatus;
  /** Restarts by its policy since somebody started it. */
  readonly restarts: number;
  /** Those of them in a row. */
  readonly row: number;
  /** When the last one began, ISO 8601. */
  readonly restartedAt: string | null;
  /** Absolute URLs of the modules with plugins that its keeper loads. */
  readonly plugins: readonly string[];
}

/** Of a box that never had a keeper. */
export const NO_KEEPING: Keeping = {
  kept: false,
  detached: false,
  health: "none",
  restarts: 0,
  row: 0,
  restartedAt: null,
  plugins: [],
};

/** The table of keepings. Nothing is cached: other programs share it. */
export class Keepings {
  readonly #database: DatabaseSync;

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** A box's keeping. */
  of(id: string): Keeping {
    const row = this.#run((database) =>
      database.prepare("SELECT * FROM keepings WHERE box_id = ?").get(id)
    );
    return row ? keepingOf(row) : NO_KEEPING;
  }

  /** Those of several boxes, by their ids; boxes without one aren't in it. */
  all(): Map<string, Keeping> {
    const rows = this.#run((database) => database.prepare("SELECT * FROM keepings").all());
    return new Map(rows.map((row) => [String(row.box_id), keepingOf(row)]));
  }

  /** Boxes that are to have a keeper which outlives programs. */
  wanting(): string[] {
    const rows = this.#run((database) =>
      database.prepare("SELECT box_id FROM keepings WHERE kept = 1 AND detached = 1").all()
    );
    return rows.map((row) => String(row.box_id));
  }

  /** Somebody has started the box: its keeping begins anew. No-op when its record is gone. */
  begin(
    id: string,
    { detached, health, plugins }: Pick<Keeping, "detached" | "health" | "plugins">,
  ): void {
    this.#run((database) =>
      database.prepare(
        `INSERT OR REPLACE INTO keepings
         SELECT id, 1, ?, ?, 0, 0, NULL, ? FROM boxes WHERE id = ?`,
      ).run(detached ? 1 : 0, health, JSON.stringify(plugins), id)
    );
  }

  /** Changes parts of a keeping; no-op where there is none. */
  change(id: string, changes: Partial<Pick<Keeping, "kept" | "detached" | "health">>): void {
    if (this.of(id) === NO_KEEPING) return; // most boxes: writes nothing
    const { kept, detached, health } = changes;
    this.#urgently((database) =>
      database.prepare(
        `UPDATE keepings SET kept = coalesce(?, kept), detached = coalesce(?, detached),
           health = coalesce(?, health) WHERE box_id = ?`,
      ).run(bit(kept), bit(detached), health ?? null, id)
    );
  }

  /** The box wants no keeper any more; no-op where there was none. */
  remove(id: string): void {
    if (this.of(id) === NO_KEEPING) return;
    this.#urgently((database) => database.prepare("DELETE FROM keepings WHERE box_id = ?").run(id));
  }

  /** A restart begins, the `row`th in a row. */
  restarting(id: string, row: number): void {
    this.#run((database) =>
      database.prepare(
        `UPDATE keepings SET restarts = restarts + 1, restart_row = ?, restarted_at = ?,
           health = CASE health WHEN 'none' THEN 'none' ELSE 'starting' END WHERE box_id = ?`,
      ).run(row, new Date().toISOString(), id)
    );
  }

  /** What belongs to the end of a box, which a full disk mustn't hold up. */
  #urgently<T>(body: (database: DatabaseSync) => T): T {
    return urgently(this.#database, () => body(this.#database));
  }

  #run<T>(body: (database: DatabaseSync) => T): T {
    return translated(this.#database, () => body(this.#database));
  }
}

function bit(value: boolean | undefined): number | null {
  return value === undefined ? null : Number(value);
}

function keepingOf(row: Record<string, unknown>): Keeping {
  try {
    return {
      kept: row.kept === 1,
      detached: row.detached === 1,
      health: healthOf(row.health),
      restarts: Number(row.restarts),
      row: Number(row.restart_row),
      restartedAt: row.restarted_at === null ? null : String(row.restarted_at),
      plugins: JSON.parse(String(row.plugins)),
    };
  } catch (error) {
    throw new HutchError("state_corrupt", `Cannot read a box's keeping: ${errorText(error)}`, {
      cause: error,
      hint: "remove the box, or use another home with HUTCH_HOME",
    });
  }
}

function healthOf(value: unknown): HealthStatus {
  return value === "starting" || value === "healthy" || value === "unhealthy" ? value : "none";
}
