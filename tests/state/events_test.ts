import assert from "node:assert/strict";
import { join } from "node:path";
import type { EventOf } from "../../mod.ts";
import { Counters, type Tally } from "../../src/state/counters.ts";
import { openDatabase } from "../../src/state/database.ts";
import { EventLog, type EventLogOptions } from "../../src/state/event_log.ts";
import { type AnyEvent, EventTable } from "../../src/state/events.ts";
import { TempFolder } from "../support/temp.ts";

const DAY_MS = 24 * 3_600_000;
const RETENTION = { keep: 10_000, maxAgeMs: 30 * DAY_MS };
const ID = "aaaaaaaaaaaa";

function stage(ms: number, at = new Date().toISOString()): EventOf<"stage.finished"> {
  return { type: "stage.finished", at, box: ID, name: "web", stage: "boot", ms };
}

function started(execution: string): EventOf<"exec.started"> {
  const at = new Date().toISOString();
  return { type: "exec.started", at, box: ID, name: "web", execution, command: ["x"], user: "" };
}

function exited(execution: string, code: number | null): EventOf<"exec.exited"> {
  const { user: _user, ...rest } = started(execution);
  const error = code === null ? "lost" : null;
  return { ...rest, type: "exec.exited", code, signal: null, error, ms: 1 };
}

/** A database with one box, and logs over it. */
class Home implements AsyncDisposable {
  readonly path: string;
  readonly said: string[] = [];
  readonly dropped: number[] = [];
  readonly #folder: TempFolder;
  readonly #open = new AsyncDisposableStack();

  constructor() {
    this.#folder = this.#open.use(new TempFolder());
    this.path = join(this.#folder.path, "state.db");
  }

  database() {
    const database = openDatabase(this.path);
    this.#open.defer(() => database.close());
    return database;
  }

  addBox(): void {
    this.database().exec(`INSERT INTO boxes VALUES ('${ID}', 'web', '', '', 0, '{}')`);
  }

  log(more: Partial<EventLogOptions> = {}): { log: EventLog; counters: Counters } {
    const counters = more.counters ?? new Counters("1.0");
    const log = new EventLog({
      path: this.path,
      counters,
      retention: RETENTION,
      log: (line) => void this.said.push(line),
      dropped: (count) => void this.dropped.push(count),
      written: () => {},
      ...more,
    });
    this.#open.use(log);
    return { log, counters };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#open.disposeAsync();
  }
}

function kept(home: Home): (number | undefined)[] {
  const { events } = new EventTable(home.database()).page(0);
  return events.map((event) => event.type === "stage.finished" ? event.ms : undefined);
}

Deno.test("EventLog keeps events in their order and tells when they are written", async () => {
  await using home = new Home();
  const written = Promise.withResolvers<void>();
  const { log } = home.log({ written: () => written.resolve() });
  for (let ms = 0; ms < 3; ms++) log.record(stage(ms));
  await written.promise;
  const page = new EventTable(home.database()).page(0);
  assert.deepEqual(page.events.map(({ seq }) => seq), [1, 2, 3]);
  assert.deepEqual([page.upTo, page.more, page.missed], [3, false, 0]);
  assert.deepEqual(page.events[1], { seq: 2, ...stage(1, page.events[1]?.at) });
});

Deno.test("EventLog writes what waits when it is disposed of", async () => {
  await using home = new Home();
  const { log } = home.log();
  for (let ms = 0; ms < 450; ms++) log.record(stage(ms));
  await log[Symbol.asyncDispose]();
  log.record(stage(450));
  assert.equal(new EventTable(home.database()).head(), 450);
});

Deno.test("EventLog takes a tenth of the time where writing is slow", async () => {
  await using home = new Home();
  const slow = new Counters("1.0");
  const write = slow.write.bind(slow);
  slow.write = (database) => {
    const until = performance.now() + 20;
    while (performance.now() < until);
    write(database);
  };
  const ends: (() => void)[] = [];
  const { log } = home.log({ counters: slow, written: () => ends.shift()?.() });
  const next = () => new Promise<void>((resolve) => ends.push(resolve));
  for (const least of [0, 200]) {
    const written = next();
    const from = performance.now();
    log.record(stage(1));
    await written;
    assert.ok(performance.now() - from >= least);
  }
});

Deno.test("EventLog waits for a busy database without holding anybody up", async () => {
  await using home = new Home();
  const other = home.database();
  other.exec("BEGIN IMMEDIATE");
  const { log, counters } = home.log();
  log.record(stage(1));
  const from = performance.now();
  assert.equal(log.flush(), false);
  assert.ok(performance.now() - from < 1_000);
  assert.equal(counters.waiting, true);
  other.exec("ROLLBACK");
  assert.equal(log.flush(), true);
  assert.deepEqual(kept(home), [1]);
  assert.deepEqual(home.said, []);
});

Deno.test("EventLog drops the oldest events when too many wait, and says how many", async () => {
  await using home = new Home();
  const other = home.database();
  other.exec("BEGIN IMMEDIATE");
  const { log, counters } = home.log();
  for (let ms = 0; ms < 10_007; ms++) log.record(stage(ms));
  log.flush();
  other.exec("ROLLBACK");
  assert.equal(log.flush(), true);
  assert.deepEqual(home.dropped, [7]);
  assert.match(home.said.at(-1) ?? "", /^7 events were not kept: .*locked/);
  assert.equal(kept(home)[0], 7);
  assert.equal(counters.read(other).get("stage.finished")?.count, 10_007, "all are counted");
});

Deno.test("EventLog goes on in a full disk and keeps events once there is room", async () => {
  await using home = new Home();
  const { log } = home.log();
  log.record(stage(0));
  assert.equal(log.flush(), true);
  const other = home.database();
  other.exec(
    "CREATE TRIGGER full BEFORE INSERT ON events " +
      "BEGIN SELECT raise(ABORT, 'database or disk is full'); END",
  );
  log.record(stage(1));
  assert.equal(log.flush(), false);
  assert.equal(log.flush(), false);
  assert.equal(home.said.length, 1, "it is told once");
  assert.match(home.said[0] ?? "", /no space is left/);
  other.exec("DROP TRIGGER full");
  log.flush();
  assert.deepEqual(kept(home), [0, 1]);
});

Deno.test("EventLog says what is lost when it is disposed of in a full disk", async () => {
  await using home = new Home();
  home.database().exec(
    "CREATE TRIGGER full BEFORE INSERT ON events " +
      "BEGIN SELECT raise(ABORT, 'database or disk is full'); END",
  );
  const { log } = home.log();
  log.record(stage(1));
  log.record(stage(2));
  await log[Symbol.asyncDispose]();
  assert.match(home.said.at(-1) ?? "", /^2 events could not be kept: /);
});

Deno.test("EventLog keeps only the newest events, and none that are too old", async () => {
  await using home = new Home();
  const { log } = home.log({ retention: { keep: 5, maxAgeMs: DAY_MS } });
  for (let ms = 0; ms < 8; ms++) log.record(stage(ms));
  log.flush();
  assert.deepEqual(kept(home), [3, 4, 5, 6, 7]);
  const page = new EventTable(home.database()).page(1);
  assert.equal(page.missed, 2, "of 2 to 8 the first two are gone");
  home.database().exec("UPDATE events SET at = '2020-01-01T00:00:00.000Z' WHERE seq <= 6");
  log.record(stage(8));
  log.flush();
  assert.deepEqual(kept(home), [6, 7, 8]);
  home.database().exec("UPDATE events SET at = '2020-01-01T00:00:00.000Z'");
  log.record(stage(9));
  log.flush();
  assert.deepEqual(kept(home), [9], "numbers aren't used again");
  assert.equal(new EventTable(home.database()).head(), 10);
});

Deno.test("EventLog shortens what is very long", async () => {
  await using home = new Home();
  const { log } = home.log();
  const command = Array.from({ length: 40 }, (_, index) => `${index}`.repeat(1_000));
  log.record({ ...started("e"), command } as AnyEvent);
  log.flush();
  const [event] = new EventTable(home.database()).page(0).events;
  assert.ok(event?.type === "exec.started");
  assert.equal(event.command.length, 17);
  assert.equal(event.command[0]?.length, 257);
  assert.ok(JSON.stringify(event).length < 8_192);
});

Deno.test("EventTable gives pages of what is asked for, with nothing between them lost", async () => {
  await using home = new Home();
  const { log } = home.log();
  for (let n = 0; n < 450; n++) log.record(n % 100 === 0 ? started(`${n}`) : stage(n));
  log.flush();
  const table = new EventTable(home.database());
  const found: string[] = [];
  let pages = 0;
  for (let after = 0, more = true; more; pages++) {
    const page = table.page(after, { types: ["exec.started"], box: ["web"] });
    for (const event of page.events) if ("execution" in event) found.push(event.execution);
    ({ upTo: after, more } = page);
  }
  assert.deepEqual(found, ["0", "100", "200", "300", "400"]);
  assert.equal(pages, 3);
  assert.deepEqual(table.page(0, { box: ["other"] }).events, []);
  assert.deepEqual(table.page(0, { until: "2020-01-01T00:00:00.000Z" }).events, []);
});

Deno.test("EventTable says when an event can't be read", async () => {
  await using home = new Home();
  const database = home.database();
  database.exec("INSERT INTO events VALUES (1, 'x', 'box.created', NULL, NULL, '{')");
  assert.throws(() => new EventTable(database).page(0), { code: "state_corrupt" });
});

Deno.test("Counters add up what several programs count, at once and after one another", async () => {
  await using home = new Home();
  home.addBox();
  const one = home.log();
  const two = home.log({ counters: new Counters("2.0") });
  one.log.record(stage(10));
  two.log.record(stage(2));
  one.log.record(stage(6));
  const database = home.database();
  const boot = (counters: Counters, box?: string): Tally | undefined =>
    counters.read(database, box).get("stage.finished:boot");
  assert.equal(boot(one.counters, ID)?.count, 2, "what waits counts already");
  one.log.flush();
  two.log.flush();
  const all: Tally = { count: 3, sum: 18, least: 2, most: 10, last: 2 };
  assert.deepEqual(boot(one.counters), all);
  assert.deepEqual(boot(two.counters, ID), all);
  one.log.record(stage(1));
  assert.deepEqual(boot(one.counters, ID), { count: 4, sum: 19, least: 1, most: 10, last: 1 });
});

Deno.test("Counters outlive the events that they were made from", async () => {
  await using home = new Home();
  home.addBox();
  const { log, counters } = home.log({ retention: { keep: 1, maxAgeMs: DAY_MS } });
  for (let n = 0; n < 300; n++) log.record(stage(1));
  log.flush();
  assert.equal(kept(home).length, 1);
  assert.equal(counters.read(home.database(), ID).get("stage.finished")?.count, 300);
});

Deno.test("Counters of a box go with it and don't come back", async () => {
  await using home = new Home();
  home.addBox();
  const { log, counters } = home.log();
  log.record(started("e"));
  log.flush();
  const database = home.database();
  assert.equal(counters.running(database, ID), 1);
  database.exec("DELETE FROM boxes");
  log.record(exited("e", null));
  log.flush();
  assert.equal(counters.read(database, ID).size, 0);
  assert.equal(counters.running(database), 0);
  assert.equal(counters.read(database).get("exec.exited:error")?.count, 1);
  for (const table of ["box_counters", "running_execs"]) {
    assert.equal(database.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n, 0, table);
  }
});

Deno.test("Counters tell commands that run from those that ended or never started", async () => {
  await using home = new Home();
  home.addBox();
  const { log, counters } = home.log();
  const database = home.database();
  const running = () => counters.running(database, ID);
  log.record(exited("never", null));
  log.record(started("a"));
  log.record(started("b"));
  assert.equal(running(), 2);
  log.flush();
  assert.equal(running(), 2);
  log.record(exited("a", 3));
  assert.equal(running(), 1);
  log.flush();
  log.record(exited("b", 0));
  log.flush();
  assert.equal(running(), 0);
  const tallies = counters.read(database, ID);
  assert.equal(tallies.get("exec.exited")?.count, 3);
  assert.equal(tallies.get("exec.exited:nonzero")?.count, 1);
  assert.equal(tallies.get("exec.exited:error")?.count, 1);
  assert.equal(database.prepare("SELECT count(*) AS n FROM running_execs").get()?.n, 0);
});

Deno.test("Counters don't count commands of programs that were killed", async () => {
  await using home = new Home();
  home.addBox();
  const dead = home.log({ counters: new Counters(`${Deno.pid}.7`) }); // of another start
  dead.log.record(started("lost"));
  dead.log.flush();
  const { log, counters } = home.log();
  const database = home.database();
  assert.equal(counters.running(database, ID), 0);
  log.record(stage(1));
  log.flush();
  assert.equal(database.prepare("SELECT count(*) AS n FROM running_execs").get()?.n, 0);
});
