import assert from "node:assert/strict";
import { join } from "node:path";
import { openDatabase } from "../../src/state/database.ts";
import { TempFolder } from "../support/temp.ts";

/** Writes to a new database in a transaction, says so, and takes it back after `ms`. */
const MAKER = `
  import { DatabaseSync } from "node:sqlite";
  onmessage = ({ data: { path, ms } }) => {
    const database = new DatabaseSync(path);
    database.exec("BEGIN IMMEDIATE; CREATE TABLE being_made (a)");
    postMessage("begun");
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    database.exec("ROLLBACK");
    database.close();
    postMessage("done");
  };
`;

Deno.test("openDatabase waits for a program that makes the same database", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "state.db");
  const maker = new Worker(`data:text/javascript,${encodeURIComponent(MAKER)}`, { type: "module" });
  const next = () =>
    new Promise((resolve) => {
      maker.onmessage = ({ data }) => resolve(data);
    });
  try {
    const begun = next();
    maker.postMessage({ path, ms: 300 });
    assert.equal(await begun, "begun");
    const done = next();
    using database = openDatabase(path);
    assert.equal(database.prepare("PRAGMA journal_mode").get()?.journal_mode, "wal");
    assert.equal(await done, "done");
  } finally {
    maker.terminate();
  }
});

Deno.test("openDatabase gives up on a database that stays locked, and says so", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "state.db");
  const maker = new Worker(`data:text/javascript,${encodeURIComponent(MAKER)}`, { type: "module" });
  const begun = new Promise((resolve) => {
    maker.onmessage = ({ data }) => resolve(data);
  });
  try {
    maker.postMessage({ path, ms: 60_000 });
    assert.equal(await begun, "begun");
    assert.throws(() => openDatabase(path, { busyTimeoutMs: 20 }), {
      code: "home_unusable",
      message: /database is locked/,
    });
  } finally {
    maker.terminate();
  }
});
