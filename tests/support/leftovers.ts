/**
 * What a home holds when all its boxes were removed: nothing of any box.
 *
 * @module
 */
import assert from "node:assert/strict";
import { pathsOf } from "../../src/runtime/paths.ts";
import { openDatabase } from "../../src/state/database.ts";
import { processesOf, until } from "./processes.ts";

/** Tables with rows of boxes: theirs, whatever belongs to them, and the disks that some are over. */
const TABLES = `SELECT name FROM sqlite_master m WHERE type = 'table' AND (
  name IN ('boxes', 'backing_disks')
  OR EXISTS (SELECT 1 FROM pragma_foreign_key_list(m.name) f WHERE f."table" = 'boxes')
)`;

/**
 * Checks that no process, socket, folder, lock, unfinished file or row is left.
 *
 * @param ids Every box that the home had: sockets are kept with those of other homes.
 */
export async function assertNoBoxLeft(home: string, ids: Iterable<string>): Promise<void> {
  await untilNoProcess(home);
  const paths = pathsOf(home);
  const files = names(paths.boxes).flatMap((name) => [name, ...names(`${paths.boxes}/${name}`)]);
  assert.deepEqual(files, [], "folders of boxes are left");
  const had = new Set(ids);
  const sockets = names(paths.sockets).filter((name) => had.has(name.split(".")[0] ?? ""));
  assert.deepEqual(sockets, [], "sockets are left");
  assert.deepEqual(unfinished(home), [], "locks or unfinished files are left");
  const database = openDatabase(paths.database);
  try {
    const tables = database.prepare(TABLES).all().map(({ name }) => String(name));
    assert.ok(tables.includes("box_volumes") && tables.includes("boxes"), tables.join(" "));
    for (const table of tables) {
      assert.deepEqual(database.prepare(`SELECT * FROM ${table}`).all(), [], `rows of ${table}`);
    }
  } finally {
    database.close();
  }
}

/** Waits until the last process of a home has ended. */
export async function untilNoProcess(home: string): Promise<void> {
  await until(
    async () => (await processesOf(home)).length === 0,
    async () => `left: ${JSON.stringify(await processesOf(home))}`,
  );
}

function unfinished(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return unfinished(path);
    // What was half written of a reference may be another program's: a sweep takes it in an hour.
    if (/\/blobs\/references\/[^/]*\.new$/.test(path)) return [];
    // The lock of a home that is open, and QEMU's own, stay.
    return /\.(lock|new|tmp)$/.test(name) && name !== "home.lock" ? [path] : [];
  });
}

function names(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
