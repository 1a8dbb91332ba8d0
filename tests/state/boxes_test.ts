import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseConfig } from "../../src/state/box_rows.ts";
import { BoxRecords, NEW_STATE } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { config } from "./config.ts";

function withRecords(run: (records: BoxRecords, database: DatabaseSync) => void): void {
  const database = openDatabase(":memory:");
  try {
    run(new BoxRecords(database), database);
  } finally {
    database.close();
  }
}

Deno.test("BoxRecords finds by exact id before exact name before id prefix", () =>
  withRecords((records) => {
    records.add(config("aaaaaaaaaaaa", "first"));
    records.add(config("abaaaaaaaaaa", "aaaaaaaaaaaa"));
    records.add(config("bbbbbbbbbbbb", "ab"));
    assert.equal(records.find("aaaaaaaaaaaa").config.name, "first");
    assert.equal(records.find("ab").config.id, "bbbbbbbbbbbb");
    assert.equal(records.find("aba").config.id, "abaaaaaaaaaa");
    assert.equal(records.find("first").config.id, "aaaaaaaaaaaa");
  }));

Deno.test("BoxRecords lists the matches of an ambiguous prefix", () =>
  withRecords((records) => {
    records.add(config("aa0000000000", "one"));
    records.add(config("aa1111111111", "two"));
    assert.throws(() => records.find("aa"), {
      code: "ambiguous_box",
      message: 'Cannot choose a box: "aa" fits aa0000000000 (one), aa1111111111 (two)',
    });
  }));

for (const text of ["nope", "", "%", "aa'", "f"]) {
  Deno.test(`BoxRecords finds no box for ${JSON.stringify(text)}`, () =>
    withRecords((records) => {
      records.add(config("aa0000000000", "one"));
      assert.throws(() => records.find(text), { code: "box_not_found" });
    }));
}

Deno.test("BoxRecords refuses a taken name and keeps the first box", () =>
  withRecords((records) => {
    records.add(config("aa0000000000", "one"));
    assert.equal(records.add(config("bb0000000000", "one"))?.config.id, "aa0000000000");
    assert.equal(records.list().length, 1);
  }));

Deno.test("BoxRecords records nothing that couldn't be read again", () =>
  withRecords((records) => {
    const bad = { ...config("aa0000000000", "one"), bootTimeoutMs: Infinity };
    const refused = { code: "invalid_option", message: /box "one".*bootTimeoutMs/ };
    assert.throws(() => records.add(bad), refused);
    assert.throws(() => records.addClones([bad], null), refused);
    assert.equal(records.list().length, 0);
    records.add(config("aa0000000000", "one"));
    assert.throws(() => records.reconfigure("aa0000000000", () => bad), refused);
    assert.equal(records.byId("aa0000000000")?.config.bootTimeoutMs, 1);
  }));

Deno.test("BoxRecords changes a state only from the revision that was seen", () =>
  withRecords((records) => {
    records.add(config("aa0000000000", "one"));
    const changed = records.change("aa0000000000", 0, { ...NEW_STATE, status: "starting" });
    assert.equal(changed?.state.status, "starting");
    assert.equal(changed?.revision, 1);
    assert.equal(records.change("aa0000000000", 0, { ...NEW_STATE, status: "failed" }), undefined);
    assert.equal(records.byId("aa0000000000")?.state.status, "starting");
    assert.equal(records.change("nope", 0, NEW_STATE), undefined);
  }));

Deno.test("BoxRecords lists by status and labels in the order of creation", () =>
  withRecords((records) => {
    records.add(config("bb0000000000", "late", { createdAt: "2026-01-02T00:00:00.000Z" }));
    records.add(config("aa0000000000", "early", { labels: { role: "db", "a.b": "c" } }));
    const listed = (filter: Parameters<BoxRecords["list"]>[0]) =>
      records.list(filter).map((record) => record.config.name);
    assert.deepEqual(listed({}), ["early", "late"]);
    assert.deepEqual(listed({ labels: { "a.b": "c" } }), ["early"]);
    assert.deepEqual(listed({ labels: { role: "web" } }), []);
    assert.deepEqual(listed({ statuses: ["running"] }), []);
    assert.deepEqual(listed({ statuses: ["configured"] }), ["early", "late"]);
  }));

Deno.test("BoxRecords removes a box with its state, once", () =>
  withRecords((records, database) => {
    records.add(config("aa0000000000", "one"));
    assert.equal(records.remove("aa0000000000"), true);
    assert.equal(records.remove("aa0000000000"), false);
    assert.equal(database.prepare("SELECT count(*) AS n FROM box_states").get()?.n, 0);
  }));

Deno.test("openDatabase refuses a newer version and leaves it alone", async () => {
  const folder = await Deno.makeTempDir({ prefix: "hutch-state-" });
  try {
    const path = join(folder, "state.db");
    openDatabase(path).close();
    const newer = new DatabaseSync(path);
    newer.exec("PRAGMA user_version = 999");
    newer.close();
    assert.throws(() => openDatabase(path), { code: "state_too_new" });
    const after = new DatabaseSync(path);
    assert.equal(after.prepare("PRAGMA user_version").get()?.user_version, 999);
    after.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("openDatabase says when the file is no database", async () => {
  const folder = await Deno.makeTempDir({ prefix: "hutch-state-" });
  try {
    const path = join(folder, "state.db");
    await Deno.writeTextFile(path, "this is certainly not a database ".repeat(100));
    assert.throws(() => openDatabase(path), { code: "state_corrupt" });
    assert.throws(() => openDatabase(join(folder, "no", "such", "folder.db")), {
      code: "home_unusable",
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("BoxRecords.byId tells what another program wrote, at once", () =>
  withRecords((records, database) => {
    const others = new BoxRecords(database);
    records.add(config("aa0000000000", "one"));
    const seen = records.byId("aa0000000000");
    assert.equal(records.byId("aa0000000000"), seen, "a row that didn't change isn't read twice");
    others.change("aa0000000000", 0, { ...NEW_STATE, status: "starting", reason: "theirs" });
    assert.equal(records.byId("aa0000000000")?.state.reason, "theirs");
    others.reconfigure("aa0000000000", (record) => ({ ...record.config, name: "two" }));
    assert.equal(records.byId("aa0000000000")?.config.name, "two");
    database.exec("UPDATE boxes SET config = '{'");
    assert.throws(() => records.byId("aa0000000000"), { code: "state_corrupt" });
    others.remove("aa0000000000");
    assert.equal(records.byId("aa0000000000"), undefined);
  }));

Deno.test("parseConfig gives a network that was recorded before there were rules none", () => {
  const { network, ...rest } = config("aa0000000000", "one");
  const { rules: _, secrets: __, hooks: ___, logConnections: ____, ...older } = network;
  assert.deepEqual(parseConfig(JSON.stringify({ ...rest, network: older })).network, network);
});

Deno.test("parseConfig refuses rules that would be other orders for a network", () => {
  const whole = config("aa0000000000", "one");
  for (
    const network of [
      { ...whole.network, rules: ["deny out any any any\nmode open"] },
      { ...whole.network, rules: ["deny out any 1.1.1.1 any;allow out any any any"] },
      { ...whole.network, hooks: { kinds: ["connect\nmode open"], hosts: [] } },
      { ...whole.network, hooks: { kinds: [], hosts: ["a.test\nmode open"] } },
    ]
  ) {
    assert.throws(() => parseConfig(JSON.stringify({ ...whole, network })), /else than words/);
  }
});
