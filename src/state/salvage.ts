/**
 * What can still be read of a damaged database.
 *
 * @module
 */
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { errorText, HutchError } from "../errors.ts";
import { openDatabase } from "./database.ts";

/** What {@link salvage} got. */
export interface Salvage {
  /** Rows copied, by table. */
  readonly rows: Readonly<Record<string, number>>;
  /** What couldn't be read, in words for people; none when all was well. */
  readonly problems: readonly string[];
}

/** Most problems that are told. */
const MANY = 20;

/**
 * Whether anything is wrong with a database; reads all of it.
 *
 * @returns What is wrong, in words for people.
 */
export function examineDatabase(database: DatabaseSync): string[] {
  const found: string[] = [];
  try {
    for (const row of database.prepare(`PRAGMA integrity_check(${MANY})`).all()) {
      const text = String(row.integrity_check);
      if (text !== "ok") found.push(...text.split("\n").filter((line) => !line.startsWith("***")));
    }
    for (const row of database.prepare("PRAGMA foreign_key_check").all().slice(0, MANY)) {
      found.push(`a row of ${row.table} belongs to nothing in ${row.parent}`);
    }
  } catch (error) {
    found.push(errorText(error));
  }
  return found.slice(0, MANY);
}

/**
 * Copies every row that can be read into a new database. A table is read from its beginning, and
 * from its end where that stops at a damaged page.
 *
 * @param path A copy of the damaged database that may be changed.
 * @throws HutchError `state_too_new` when a newer hutch wrote it.
 */
export function salvage(path: string, to: DatabaseSync): Salvage {
  const problems: string[] = [];
  const rows: Record<string, number> = {};
  const from = openDamaged(path, problems);
  if (!from) return { rows, problems };
  try {
    problems.push(...examineDatabase(from));
    // What rows belong to comes before them, and belongs to nothing itself.
    const tables = to.prepare(
      `SELECT name FROM sqlite_master m WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
       ORDER BY EXISTS (SELECT 1 FROM pragma_foreign_key_list(m.name)), rowid`,
    ).all();
    for (const { name } of tables) rows[String(name)] = copyTable(String(name), from, to, problems);
    copySequences(from, to);
  } catch (error) {
    problems.push(errorText(error));
  } finally {
    closeQuietly(from);
  }
  return { rows, problems };
}

/** Opened as well as it can be: with today's schema, else as it is, else not at all. */
function openDamaged(path: string, problems: string[]): DatabaseSync | undefined {
  try {
    using raw = new DatabaseSync(path);
    if (raw.prepare("PRAGMA user_version").get()?.user_version === 0) {
      problems.push("the database is empty");
    }
  } catch {
    // The next step says why.
  }
  try {
    return openDatabase(path);
  } catch (error) {
    if (error instanceof HutchError && error.code === "state_too_new") throw error;
    problems.push(errorText(error));
  }
  try {
    return new DatabaseSync(path);
  } catch {
    return undefined; // for the same reason
  }
}

function copyTable(
  table: string,
  from: DatabaseSync,
  to: DatabaseSync,
  problems: string[],
): number {
  const known = new Set(columnsOf(from, table));
  const columns = columnsOf(to, table).filter((column) => known.has(column));
  if (columns.length === 0) return 0;
  const names = columns.join(", ");
  const insert = to.prepare(
    `INSERT OR IGNORE INTO ${table} (${names}) VALUES (${columns.map(() => "?").join(", ")})`,
  );
  let copied = 0;
  let refused = 0;
  const copyRows = (direction: "ASC" | "DESC"): boolean => {
    try {
      for (const row of rowsOf(from, table, columns, direction)) {
        try {
          copied += Number(insert.run(...columns.map((column) => row[column] ?? null)).changes);
        } catch {
          refused += 1; // it belongs to something that is lost, or isn't what the column takes
        }
      }
      return true;
    } catch (error) {
      problems.push(`table ${table}: ${errorText(error)}`);
      return false;
    }
  };
  if (!copyRows("ASC")) copyRows("DESC");
  if (refused > 0) problems.push(`table ${table}: ${refused} rows belong to nothing`);
  return copied;
}

/**
 * A table's rows in the order in which it is kept, up to the first that can't be read. Row by row:
 * a statement that is being stepped through just ends at a damaged page, and tells nobody.
 */
function* rowsOf(
  database: DatabaseSync,
  table: string,
  columns: readonly string[],
  direction: "ASC" | "DESC",
): Generator<Readonly<Record<string, SQLInputValue>>> {
  const key = keyOf(database, table);
  const order = key.map((column) => `${column} ${direction}`).join(", ");
  const places = key.map((column, at) => `${column} AS ${placeOf(at)}`);
  const select = `SELECT ${[...columns, ...places].join(", ")} FROM ${table}`;
  const next = database.prepare(
    `${select} WHERE (${key.join(", ")}) ${direction === "ASC" ? ">" : "<"}
     (${key.map(() => "?").join(", ")}) ORDER BY ${order} LIMIT 1`,
  );
  let row = database.prepare(`${select} ORDER BY ${order} LIMIT 1`).get();
  while (row) {
    yield row;
    const at = row;
    row = next.get(...key.map((_, index) => at[placeOf(index)] ?? null));
  }
}

/** What a column of the key is called beside those that are copied. */
function placeOf(index: number): string {
  return `place_${index}`;
}

/** Numbers that are never used again, though their rows are gone. */
function copySequences(from: DatabaseSync, to: DatabaseSync): void {
  const remove = to.prepare("DELETE FROM sqlite_sequence WHERE name = ?");
  const add = to.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)");
  for (const { name = null, seq = null } of from.prepare("SELECT * FROM sqlite_sequence").all()) {
    remove.run(name);
    add.run(name, seq);
  }
}

/** The columns that can be written. */
function columnsOf(database: DatabaseSync, table: string): string[] {
  return database.prepare(`PRAGMA table_info(${table})`).all().map((row) => String(row.name));
}

/** The columns by which a table is kept: any other order would need an index, or all of it. */
function keyOf(database: DatabaseSync, table: string): string[] {
  const kind = database.prepare("SELECT wr FROM pragma_table_list(?)").get(table);
  if (kind?.wr === 0) return ["rowid"];
  const key = database.prepare(`PRAGMA table_info(${table})`).all()
    .filter((row) => Number(row.pk) > 0).sort((a, b) => Number(a.pk) - Number(b.pk))
    .map((row) => String(row.name));
  return key;
}

function closeQuietly(database: DatabaseSync): void {
  try {
    database.close();
  } catch {
    // It is a damaged copy that goes anyway.
  }
}
