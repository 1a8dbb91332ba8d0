/**
 * The state database: opening, settings, migrations.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { asNoSpace, isNoSpace } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { MIGRATIONS } from "./migrations.ts";
import { isDiskFull, spendReserve } from "./reserve.ts";

/** Most memory for pages, in `KiB`: with less, a list in another order reads them again and again. */
const CACHE_KIB = 32 * 1024;
const REPAIR = "repair it (hutch doctor --repair), which keeps a copy";
/** How long a writer waits for another program's transaction, in `ms`. */
const BUSY_TIMEOUT_MS = 10_000;
const LOCKED_PAUSE_MS = 5;

/** Options of {@link openDatabase}. */
export interface OpenDatabaseOptions {
  /** How long a writer waits for another program's transaction, in `ms`. @default {10000} */
  readonly busyTimeoutMs?: number;
  /**
   * Asked before tables are made, while no other program can make them: what it says makes the
   * database a missing one. @default {says nothing}
   */
  readonly refuseNew?: () => string | undefined;
}

/**
 * Opens the database and brings it to this version's schema; on a full disk with its reserve.
 *
 * @throws HutchError `state_too_new` when a newer hutch wrote it, `state_corrupt` when it is missing or
 * isn't a database, `home_unusable` when it can't be opened, `no_space`.
 */
export function openDatabase(path: string, options: OpenDatabaseOptions = {}): DatabaseSync {
  return withReserve(path, () => open(path, options));
}

function open(path: string, options: OpenDatabaseOptions): DatabaseSync {
  const { busyTimeoutMs = BUSY_TIMEOUT_MS } = options;
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(path, {
      timeout: busyTimeoutMs,
      enableForeignKeyConstraints: false, // which can't be turned off within a step
    });
  } catch (error) {
    throw translate(error, path);
  }
  try {
    writeAhead(database, performance.now() + busyTimeoutMs);
    database.exec(`PRAGMA synchronous = NORMAL; PRAGMA cache_size = -${CACHE_KIB};`);
    migrate(database, path, options.refuseNew);
    database.exec("PRAGMA foreign_keys = ON");
    return database;
  } catch (error) {
    database.close();
    throw translate(error, path);
  }
}

/**
 * Turns write-ahead logging on. Where another program does so at the same moment SQLite doesn't wait
 * but fails at once, so it is tried again here.
 */
function writeAhead(database: DatabaseSync, until: number): void {
  for (;;) {
    try {
      database.exec("PRAGMA journal_mode = WAL");
      return;
    } catch (error) {
      if (!/database is locked/.test(errorText(error)) || performance.now() >= until) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOCKED_PAUSE_MS);
    }
  }
}

function migrate(
  database: DatabaseSync,
  path: string,
  refuseNew: () => string | undefined = () => undefined,
): void {
  if (version(database) === MIGRATIONS.length) return; // the usual case takes no lock
  transaction(database, () => {
    const from = version(database);
    const refused = from === 0 ? refuseNew() : undefined;
    if (refused !== undefined) {
      throw new HutchError("state_corrupt", `Cannot use ${path}: ${refused}`, { hint: REPAIR });
    }
    if (from > MIGRATIONS.length) {
      throw new HutchError(
        "state_too_new",
        `Cannot use ${path}: it has version ${from} and this hutch knows up to ${MIGRATIONS.length}`,
        { hint: "use the newer hutch that wrote it, or another home with HUTCH_HOME" },
      );
    }
    for (const statements of MIGRATIONS.slice(from)) database.exec(statements);
    database.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
  });
}

function version(database: DatabaseSync): number {
  const row = database.prepare("PRAGMA user_version").get();
  return typeof row?.user_version === "number" ? row.user_version : 0;
}

/**
 * Runs `body` in one write transaction: all of it or nothing.
 *
 * @throws HutchError `no_space`, `state_corrupt`, `home_unusable` for SQLite's errors.
 */
export function transaction<T>(database: DatabaseSync, body: () => T): T {
  return translated(database, () => {
    database.exec("BEGIN IMMEDIATE");
    try {
      const result = body();
      database.exec("COMMIT");
      return result;
    } catch (error) {
      if (database.isTransaction) database.exec("ROLLBACK");
      throw error;
    }
  });
}

/** Runs `body`; what SQLite throws in it becomes an error of hutch's that names the file. */
export function translated<T>(database: DatabaseSync, body: () => T): T {
  try {
    return body();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "ERR_INVALID_STATE") { // its statements are finalized, or itself is closed
      throw new HutchError("cancelled", "Cannot go on: the runtime was closed", { cause: error });
    }
    throw code === "ERR_SQLITE_ERROR"
      ? translate(error, database.location() ?? "the state")
      : error;
  }
}

/** {@link translated} for what gives room back: on a full disk it is tried again with the reserve. */
export function urgently<T>(database: DatabaseSync, body: () => T): T {
  return withReserve(database.location() ?? "", () => translated(database, body));
}

function withReserve<T>(path: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof HutchError) || error.code !== "no_space") throw error;
    spendReserve(path); // if there is none, another program may just have given it up
    return body();
  }
}

/** Turns SQLite's errors into hutch's. */
export function translate(error: unknown, path: string): unknown {
  if (error instanceof HutchError) return error;
  const text = errorText(error);
  const full = /database or disk is full/.test(text) ||
    /disk I\/O error|unable to open/.test(text) && isDiskFull(path);
  if (isNoSpace(error) || full) {
    return asNoSpace(
      isNoSpace(error) ? error : Object.assign(new Error(text), { code: "ENOSPC" }),
      path,
    );
  }
  if (/not a database|malformed|disk image/.test(text)) {
    return new HutchError("state_corrupt", `Cannot read ${path}: it is damaged (${text})`, {
      cause: error,
      hint: REPAIR,
    });
  }
  return new HutchError("home_unusable", `Cannot use ${path}: ${text}`, {
    cause: error,
    hint: "make its folder writable, or choose another home with HUTCH_HOME",
  });
}
