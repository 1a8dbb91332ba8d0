/**
 * Detached commands whose end nobody has told of: they outlive the programs that would.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { translated } from "./database.ts";

/** A detached command that was told to have started. */
export interface DetachedCommand {
  /** Its id, as of `Box.execution`. */
  readonly execution: string;
  /** Its command line; a long one is cut short. */
  readonly command: readonly string[];
  /** ISO 8601. */
  readonly startedAt: string;
}

/** Of a command line: so many arguments, of so many characters. */
const [LIST, TEXT] = [16, 256];

/** The table of detached commands. Nothing is cached: other programs share it. */
export class DetachedCommands {
  readonly #database: DatabaseSync;

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Its end is to be told. */
  begin(box: string, { execution, command, startedAt }: DetachedCommand): void {
    const short = command.slice(0, LIST).map((text) => text.slice(0, TEXT));
    translated(this.#database, () => {
      this.#database.prepare("INSERT INTO detached_commands VALUES (?, ?, ?, ?)")
        .run(execution, box, JSON.stringify(short), startedAt);
    });
  }

  /** For whoever tells its end; undefined when somebody has. */
  end(execution: string): DetachedCommand | undefined {
    return this.#read(
      "DELETE FROM detached_commands WHERE execution = ? RETURNING execution, command, started_at",
      execution,
    )[0];
  }

  /** A box's. */
  of(box: string): DetachedCommand[] {
    return this.#read(
      `SELECT execution, command, started_at FROM detached_commands WHERE box_id = ?
       ORDER BY started_at, execution`,
      box,
    );
  }

  #read(sql: string, value: string): DetachedCommand[] {
    return translated(this.#database, () => this.#database.prepare(sql).all(value)).map((row) => {
      const command: unknown = JSON.parse(String(row.command));
      return {
        execution: String(row.execution),
        command: Array.isArray(command) ? command.map(String) : [],
        startedAt: String(row.started_at),
      };
    });
  }
}
