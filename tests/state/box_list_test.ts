import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import type { BoxConfig, BoxStatus } from "../../src/box/options.ts";
import { type BoxFilter, listQuery } from "../../src/state/box_list.ts";
import type { DamagedBox } from "../../src/state/box_rows.ts";
import { BoxRecords, NEW_STATE } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { MIGRATIONS } from "../../src/state/migrations.ts";
import { config } from "./config.ts";

interface Setting {
  readonly records: BoxRecords;
  readonly database: DatabaseSync;
  add(
    id: string,
    name: string,
    more?: Partial<BoxConfig>,
    state?: [BoxStatus, string | null],
  ): void;
  /** Names of a list, in one text. */
  listed(filter?: BoxFilter): string;
}

function withRecords(run: (setting: Setting) => void): void {
  const database = openDatabase(":memory:");
  try {
    const records = new BoxRecords(database);
    run({
      records,
      database,
      add(id, name, more = {}, state) {
        records.add(config(id, name, more));
        if (!state) return;
        const [status, startedAt] = state;
        records.change(id, 0, { ...NEW_STATE, status, startedAt });
      },
      listed: (filter) => records.list(filter).map((record) => record.config.name).join(" "),
    });
  } finally {
    database.close();
  }
}

/** Four boxes in four states. */
function addFour({ add }: Setting): void {
  add("aa0000000000", "web-2", { createdAt: "2026-01-01", labels: { team: "web", "a.b": "" } }, [
    "running",
    "2026-02-02",
  ]);
  add("bb0000000000", "db", { createdAt: "2026-01-03", labels: { team: "db" } }, [
    "crashed",
    "2026-02-01",
  ]);
  add("cc0000000000", "web-1", { createdAt: "2026-01-02", labels: { team: "web" } });
  add("dd0000000000", "cobweb", { createdAt: "2026-01-02" }, ["stopped", "2026-02-03"]);
}

Deno.test("BoxRecords.list filters by states, labels and names", () =>
  withRecords((setting) => {
    addFour(setting);
    const table: [BoxFilter, string][] = [
      [{}, "web-2 web-1 cobweb db"],
      [{ statuses: ["running", "crashed"] }, "web-2 db"],
      [{ statuses: [] }, ""],
      [{ labels: { team: "web" } }, "web-2 web-1"],
      [{ labels: { team: true } }, "web-2 web-1 db"],
      [{ labels: { team: true, "a.b": "" } }, "web-2"],
      [{ labels: { "a.b": "x" } }, ""],
      [{ labels: { a: true } }, ""],
      [{ name: "web" }, "web-2 web-1 cobweb"],
      [{ name: "eb-" }, "web-2 web-1"],
      [{ name: "_" }, ""],
      [{ name: "web*" }, "web-2 web-1"],
      [{ name: "*web" }, "cobweb"],
      [{ name: "web-[2-9]" }, "web-2"],
      [{ name: "d?" }, "db"],
      [{ name: "d*'; DROP TABLE boxes; --" }, ""],
      [{ name: "web", labels: { team: "web" }, statuses: ["configured"] }, "web-1"],
    ];
    for (const [filter, names] of table) {
      assert.equal(setting.listed(filter), names, JSON.stringify(filter));
    }
  }));

Deno.test("BoxRecords.list sorts by each order both ways, and pages through it without gaps", () =>
  withRecords((setting) => {
    addFour(setting);
    const table: [BoxFilter, string][] = [
      [{ sort: "created" }, "web-2 web-1 cobweb db"],
      [{ sort: "name" }, "cobweb db web-1 web-2"],
      [{ sort: "status" }, "web-1 db web-2 cobweb"],
      [{ sort: "started" }, "web-1 db web-2 cobweb"],
    ];
    for (const [filter, names] of table) {
      for (const reverse of [false, true]) {
        const expected = reverse ? names.split(" ").reverse().join(" ") : names;
        assert.equal(setting.listed({ ...filter, reverse }), expected);
        for (const limit of [1, 3, 4]) {
          const pages: string[] = [];
          let last: BoxFilter = {};
          for (;;) {
            const page = setting.records.list({ ...filter, reverse, limit, ...last });
            const end = page.at(-1);
            if (!end) break;
            pages.push(...page.map((record) => record.config.name));
            last = { after: { ...end.config, ...end.state } };
          }
          assert.equal(pages.join(" "), expected, `${filter.sort} ${reverse} ${limit}`);
        }
      }
    }
  }));

Deno.test("BoxRecords.list knows the labels of a configuration that was changed, and of none removed", () =>
  withRecords((setting) => {
    addFour(setting);
    const { database, records, listed } = setting;
    const changed = config("cc0000000000", "web-1", { labels: { team: "db", new: "1" } });
    database.prepare("UPDATE boxes SET config = ? WHERE id = ?")
      .run(JSON.stringify(changed), changed.id);
    assert.equal(listed({ labels: { team: "web" } }), "web-2");
    assert.equal(listed({ labels: { new: true } }), "web-1");
    records.remove("aa0000000000");
    const left = database.prepare("SELECT count(*) AS n FROM box_labels WHERE box_id LIKE 'aa%'");
    assert.equal(left.get()?.n, 0);
  }));

// What a list may do: look rows up by an index, or go through an index in the list's order.
for (
  const [filter, expected] of [
    [{}, [/^SCAN b USING INDEX boxes_by_creation$/, /^SEARCH s USING PRIMARY KEY/]],
    [{ reverse: true, limit: 5 }, [/^SCAN b USING INDEX boxes_by_creation$/]],
    [{ statuses: ["running", "starting"] }, [/^SEARCH s USING INDEX box_states_by_status/]],
    [{ labels: { a: "b" } }, [/^SEARCH box_labels USING PRIMARY KEY \(key=\? AND value=\?\)$/]],
    [{ labels: { a: true } }, [/^SEARCH box_labels USING PRIMARY KEY \(key=\?\)$/]],
    [{ name: "web" }, [
      /^SEARCH boxes USING COVERING INDEX boxes_by_name \(name>\?\)$/,
    ]],
    [{ name: "web*" }, [
      /^SEARCH b USING INDEX (?:sqlite_autoindex_boxes_\d|boxes_by_name) \(name>\? AND name<\?\)$/,
    ]],
    [{ name: "*web" }, [
      /^SEARCH boxes USING COVERING INDEX boxes_by_name \(name>\?\)$/,
    ]],
    [{ sort: "name" }, [/^SCAN b USING INDEX (?:sqlite_autoindex_boxes_\d|boxes_by_name)$/]],
    [{ sort: "status" }, [/^SCAN s USING INDEX box_states_by_status$/]],
    [{ sort: "started" }, [/^SCAN s USING INDEX box_states_by_start$/]],
    [{ sort: "created", after: true }, [
      /^SEARCH b USING INDEX boxes_by_creation \(\(created_at,id\)>/,
    ]],
    [{ sort: "name", after: true }, [
      /^SEARCH b USING INDEX (?:sqlite_autoindex_boxes_\d|boxes_by_name) \(name>/,
    ]],
    [{ sort: "status", after: true }, [
      /^SEARCH s USING INDEX box_states_by_status \(\(status,box_id\)>/,
    ]],
    [{ sort: "started", after: true }, [
      /^SEARCH s USING INDEX box_states_by_start \(\(started_at,box_id\)>/,
    ]],
  ] as [Omit<BoxFilter, "after"> & { after?: true }, RegExp[]][]
) {
  Deno.test(`listQuery goes by indexes for ${JSON.stringify(filter)}`, () =>
    withRecords(({ database }) => {
      const { after, ...rest } = filter;
      const place = {
        id: "a",
        name: "a",
        createdAt: "a",
        status: "running",
        startedAt: null,
      } as const;
      const { sql, values } = listQuery({ ...rest, ...after ? { after: place } : {} });
      const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values)
        .map((row) => String(row.detail));
      for (const step of expected) {
        assert(plan.some((detail) => step.test(detail)), `${step}: ${plan.join(" | ")}`);
      }
      // No table is read as a whole but in the order of an index, and nothing long is sorted.
      const filtered = filter.statuses ?? filter.labels ?? filter.name;
      for (const detail of plan) {
        assert.doesNotMatch(detail, /^SCAN (?!.*USING )/, plan.join(" | "));
        if (!filtered) assert.doesNotMatch(detail, /TEMP B-TREE/, plan.join(" | "));
      }
    }));
}

Deno.test("BoxRecords looks ids, names and prefixes up by indexes", () =>
  withRecords(({ database, records, add }) => {
    add("aa0000000000", "one");
    const plans: string[] = [];
    const prepare = database.prepare.bind(database);
    const spied = new BoxRecords(Object.assign(Object.create(database), {
      prepare(sql: string) {
        const marks = [...sql.matchAll(/\?/g)].map(() => "x");
        plans.push(
          ...prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...marks).map((row) => String(row.detail)),
        );
        return prepare(sql);
      },
    }));
    spied.find("aa0000000000");
    spied.find("one");
    spied.find("aa");
    spied.uncertain();
    spied.ids();
    assert(plans.length > 6, plans.join(" | "));
    const scans = plans.filter((detail) => detail.startsWith("SCAN"));
    // All boxes' ids, from an index; and those that end with their programs, from one of just them.
    assert.deepEqual(scans.toSorted(), [
      "SCAN b USING INDEX boxes_owned",
      "SCAN boxes USING COVERING INDEX boxes_by_creation",
    ]);
    assert.equal(records.ids().size, 1);
  }));

for (
  const [why, sql, problem] of [
    ["JSON that doesn't parse", "UPDATE boxes SET config = '{\"id\":'", /JSON/],
    ["JSON of something else", "UPDATE boxes SET config = '[]'", /^it isn't an object$/],
    [
      "a configuration without an image",
      "UPDATE boxes SET config = json_remove(config, '$.image')",
      /^its image isn't an object$/,
    ],
    [
      "labels that aren't text",
      "UPDATE boxes SET config = json_set(config, '$.labels', json('{\"a\":1}'))",
      /^its labels has something else than text$/,
    ],
    [
      "another box's configuration",
      "UPDATE boxes SET config = json_set(config, '$.id', 'bb0000000000')",
      /^it is another box's$/,
    ],
    ["a state that doesn't parse", "UPDATE box_states SET document = 'x'", /JSON/],
    [
      "a state of which there is none",
      "UPDATE box_states SET status = 'gone'",
      /^its state isn't one$/,
    ],
  ] as const
) {
  Deno.test(`BoxRecords.list leaves out a box with ${why}, and tells of it`, () =>
    withRecords((setting) => {
      addFour(setting);
      const { database, records } = setting;
      database.exec(
        `${sql} WHERE ${sql.includes("box_states") ? "box_id" : "id"} = 'aa0000000000'`,
      );
      const damaged: DamagedBox[] = [];
      const names = records.list({}, { onDamaged: (box) => damaged.push(box) })
        .map(({ config }) => config.name);
      assert.deepEqual(names, ["web-1", "cobweb", "db"]);
      assert.deepEqual(damaged.map(({ id, name }) => [id, name]), [["aa0000000000", "web-2"]]);
      assert.match(damaged[0]?.problem ?? "", problem);
      assert.throws(() => records.list(), { code: "state_corrupt" });
      assert.throws(() => records.list({}, { later: true }).map(({ config }) => config), {
        code: "state_corrupt",
        message: /box "web-2" \(aa0000000000\)/,
      });
      assert.throws(() => records.find("web-2"), {
        code: "state_corrupt",
        hint: /doctor --repair/,
      });
      assert.equal(records.find("db").config.name, "db");
      assert.equal(records.remove("aa0000000000"), true);
    }));
}

Deno.test("BoxRecords.list parses configurations when they are first asked for, if it is told to", () =>
  withRecords((setting) => {
    addFour(setting);
    const { database, records } = setting;
    const list = (onDamaged?: (box: DamagedBox) => void) =>
      records.list({ name: "db" }, { later: true, ...onDamaged ? { onDamaged } : {} });
    const { config, state } = list()[0] ?? assert.fail();
    assert.deepEqual([config.name, config.labels, state.status], ["db", { team: "db" }, "crashed"]);
    assert.deepEqual({ ...records.byId("bb0000000000") }.config, config, "copies have it too");
    const text = JSON.stringify(config);
    const write = (text: string) =>
      database.prepare("UPDATE boxes SET config = ? WHERE name = 'db'").run(text);
    write(text.replace('"labels":', '"labels"!'));
    const [damaged] = list();
    assert.ok(damaged, "nobody has looked at it yet");
    assert.equal(damaged.state.status, "crashed");
    for (let times = 0; times < 2; times++) {
      assert.throws(() => damaged.config, {
        code: "state_corrupt",
        message: /box "db" \(bb0000000000\)/,
        hint: /doctor --repair/,
      });
    }
    // One that doesn't look whole is told of without anybody reading it.
    for (
      const bad of [text.slice(0, -2), text.replace(/"db"/, '"d"'), text.replace(/"bb0/, '"aa0')]
    ) {
      write(bad);
      const said: string[] = [];
      assert.deepEqual(list(({ name }) => said.push(name)), []);
      assert.deepEqual(said, ["db"]);
    }
  }));

Deno.test("openDatabase gives boxes from before labels and starts had indexes both", () => {
  const path = Deno.makeTempFileSync({ suffix: ".db" });
  try {
    const step = MIGRATIONS.findIndex((text) => text.includes("CREATE TABLE box_labels"));
    const database = new DatabaseSync(path);
    for (const statements of MIGRATIONS.slice(0, step)) database.exec(statements);
    database.exec(`PRAGMA user_version = ${step}`);
    const one = config("aa0000000000", "one", { labels: { a: "b" } });
    database.prepare("INSERT INTO boxes VALUES (?, ?, ?, ?, ?, ?)")
      .run(one.id, one.name, one.createdAt, one.image.digest, 0, JSON.stringify(one));
    database.prepare("INSERT INTO boxes VALUES ('bb', 'bad', '', '', 0, 'not JSON')").run();
    database.prepare("INSERT INTO box_states VALUES (?, 'stopped', 0, NULL, NULL, ?)")
      .run(one.id, JSON.stringify({ ...NEW_STATE, startedAt: "2026" }));
    database.close();
    const now = openDatabase(path);
    const records = new BoxRecords(now);
    assert.equal(records.list({ labels: { a: "b" } }).length, 1);
    const started = now.prepare("SELECT started_at FROM box_states").get();
    assert.equal(started?.started_at, "2026");
    // Its table was made anew.
    const damaged: string[] = [];
    const onDamaged = ({ name }: DamagedBox) => damaged.push(name);
    const boxes = records.list({}, { onDamaged });
    assert.deepEqual([boxes.map((box) => box.config), damaged], [[one], []]);
    now.prepare("INSERT INTO box_states VALUES ('bb', 'stopped', 0, NULL, NULL, '{}')").run();
    assert.equal(records.list({}, { onDamaged }).length, 1);
    assert.deepEqual(damaged, ["bad"]);
    assert.equal(records.remove(one.id), true);
    for (const table of ["box_states", "box_labels"]) {
      const { count } = now.prepare(`SELECT count(*) AS count FROM ${table} WHERE box_id = ?`)
        .get(one.id) ?? {};
      assert.equal(count, 0, `${table} goes with the box`);
    }
    assert.throws(() => {
      now.prepare("INSERT INTO box_labels VALUES ('a', 'b', 'cc')").run();
    }, /FOREIGN KEY/);
    now.close();
  } finally {
    Deno.removeSync(path);
  }
});
