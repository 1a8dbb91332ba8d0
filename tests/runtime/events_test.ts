import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  definePlugin,
  type EventGap,
  type EventsOptions,
  type RecordedEvent,
  Runtime,
  type RuntimeOptions,
} from "../../mod.ts";
import { BoxRecords, NEW_STATE } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { config } from "../state/config.ts";
import { TempFolder } from "../support/temp.ts";

const IMAGE = "builtin:busybox";
const PROGRAM = fileURLToPath(new URL("./events_program.ts", import.meta.url));
type Item = RecordedEvent | EventGap;

/** A home with its image, and runtimes in it. */
class Home implements AsyncDisposable {
  readonly #open = new AsyncDisposableStack();
  readonly path = this.#open.use(new TempFolder()).path;

  async runtime(options: RuntimeOptions = {}): Promise<Runtime> {
    return this.#open.use(await Runtime.open({ ...options, home: this.path }));
  }

  async spawn(...names: readonly string[]): Promise<void> {
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", PROGRAM, ...names],
      env: { HUTCH_HOME: this.path },
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#open.disposeAsync();
  }
}

/** What the next `count` items are, as `type name`. */
async function take(events: AsyncGenerator<Item, void>, count: number): Promise<Item[]> {
  const items: Item[] = [];
  while (items.length < count) {
    const { value, done } = await events.next();
    if (done) assert.fail(`it ended after ${items.map(say).join(", ")}`);
    items.push(value);
  }
  return items;
}

function say(item: Item): string {
  return "name" in item ? `${item.type} ${item.name}` : item.type;
}

async function all(runtime: Runtime, options: EventsOptions = {}): Promise<Item[]> {
  const events = runtime.events({ since: 0, follow: false, ...options });
  return await Array.fromAsync(events);
}

async function makeAndRemove(runtime: Runtime, name: string): Promise<string> {
  const box = await runtime.create({ image: IMAGE, name });
  await box.remove();
  return box.id;
}

Deno.test("Runtime.events gives what happened after the call, whenever it is asked for", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  await makeAndRemove(runtime, "before");
  const events = runtime.events();
  await makeAndRemove(runtime, "after");
  assert.deepEqual((await take(events, 2)).map(say), ["box.created after", "box.removed after"]);
});

Deno.test("Runtime.events gives past events by number or time, and ends without follow", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  await makeAndRemove(runtime, "one");
  const past = await all(runtime);
  assert.deepEqual(
    past.map(say),
    ["image.pulling", "image.pulled", "box.created one", "box.removed one"],
  );
  assert.deepEqual(past.map((item) => item.seq), [1, 2, 3, 4]);
  assert.deepEqual((await all(runtime, { since: 3 })).map(say), ["box.removed one"]);
  const third = past[2];
  assert.ok(third);
  const since = new Date(third.at);
  const later = await all(runtime, { since });
  assert.ok(later.some((item) => item.seq === 3));
  assert.deepEqual(await all(runtime, { since: new Date(Date.now() + 60_000) }), []);
  assert.deepEqual(await all(runtime, { until: new Date("2020-01-01") }), []);
  assert.deepEqual(await all(runtime, { since: 1_000 }), [], "a number of the future is now");
});

Deno.test("Runtime.events gives events of all runtimes in one order, none twice, none lost", async () => {
  await using home = new Home();
  const [one, two] = [await home.runtime(), await home.runtime()];
  await one.images.pull(IMAGE);
  const [seenByOne, seenByTwo] = [one.events(), two.events()];
  const names = Array.from({ length: 10 }, (_, index) => `box-${index}`);
  await Promise.all(names.map((name, index) => makeAndRemove(index % 2 ? one : two, name)));
  const [a, b] = [await take(seenByOne, 20), await take(seenByTwo, 20)];
  assert.deepEqual(a, b);
  const first = a[0]?.seq ?? 0;
  assert.deepEqual(a.map(({ seq }) => seq), a.map((_, index) => first + index));
  for (const name of names) {
    const own = a.map(say).filter((text) => text.endsWith(` ${name}`));
    assert.deepEqual(own, [`box.created ${name}`, `box.removed ${name}`]);
  }
});

Deno.test("Runtime.events gives live events of other programs, that end without closing", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  await runtime.images.pull(IMAGE);
  const events = runtime.events();
  const names = ["a", "b", "c"];
  await Promise.all([home.spawn(...names), home.spawn("x", "y"), makeAndRemove(runtime, "own")]);
  const items = await take(events, 12);
  for (const name of [...names, "x", "y", "own"]) {
    const own = items.map(say).filter((text) => text.endsWith(` ${name}`));
    assert.deepEqual(own, [`box.created ${name}`, `box.removed ${name}`]);
  }
  assert.deepEqual((await runtime.metrics()).boxes, {
    byStatus: {},
    created: 6,
    started: 0,
    stopped: 0,
    failed: 0,
    crashed: 0,
    removed: 6,
  });
});

Deno.test("Runtime.events gives only the types and the box asked for", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  const gone = await makeAndRemove(runtime, "gone");
  const box = await runtime.create({ image: IMAGE, name: "here" });
  const says = async (options: EventsOptions) => (await all(runtime, options)).map(say);
  assert.deepEqual(await says({ types: ["box.created"] }), [
    "box.created gone",
    "box.created here",
  ]);
  assert.deepEqual(await says({ types: [] }), []);
  for (const word of ["here", box.id, box.id.slice(0, 6)]) {
    assert.deepEqual(await says({ box: word }), ["box.created here"], word);
  }
  for (const word of ["gone", gone]) {
    assert.deepEqual(await says({ box: word }), ["box.created gone", "box.removed gone"], word);
  }
  assert.deepEqual(await says({ box: "never" }), []);
});

Deno.test("Runtime.events tells a slow reader of what it missed", async () => {
  await using home = new Home();
  const runtime = await home.runtime({ events: { keep: 4 } });
  await runtime.images.pull(IMAGE);
  const events = runtime.events();
  for (let index = 0; index < 5; index++) await makeAndRemove(runtime, `box-${index}`);
  await all(runtime); // all is written
  const [gap, ...rest] = await take(events, 5);
  assert.ok(gap?.type === "events.gap");
  assert.deepEqual([gap.missed, gap.seq], [6, 8]);
  assert.deepEqual(rest.map(({ seq }) => seq), [9, 10, 11, 12]);
  const [again] = await all(runtime, { since: 1 });
  assert.equal(again?.type, "events.gap");
  assert.notEqual((await all(runtime, { since: new Date(0) }))[0]?.type, "events.gap");
});

Deno.test("Runtime.events ends by its signal, at once and while it waits", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  await makeAndRemove(runtime, "box");
  const aborted = runtime.events({ since: 0, signal: AbortSignal.abort() });
  assert.deepEqual(await Array.fromAsync(aborted), []);
  const controller = new AbortController();
  const events = runtime.events({ signal: controller.signal });
  const next = events.next();
  controller.abort();
  assert.deepEqual(await next, { value: undefined, done: true });
  const later = new AbortController();
  const items: Item[] = [];
  for await (const item of runtime.events({ since: 3, signal: later.signal })) {
    items.push(item);
    later.abort();
  }
  assert.deepEqual(items.map(say), ["box.removed box"], "it was the last one so far");
});

Deno.test("Runtime.events ends when its time has passed", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  const until = new Date(Date.now() + 300);
  const events = runtime.events({ until });
  await makeAndRemove(runtime, "box");
  const last = (await Array.fromAsync(events)).at(-1);
  assert.ok(Date.now() >= until.getTime());
  assert.ok(last === undefined || last.at <= until.toISOString());
});

Deno.test("Runtime.events ends with its runtime, after what happened until then", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  await runtime.create({ image: IMAGE }); // belongs to the runtime: goes with it
  const events = runtime.events();
  const unread = runtime.events();
  const items = Array.fromAsync(events);
  await runtime.close();
  assert.deepEqual((await items).map(({ type }) => type), ["box.removed"]);
  assert.deepEqual(await Array.fromAsync(unread), await items);
  assert.throws(() => runtime.events());
});

Deno.test("Runtime.events tells of boxes that ended with their program, by whoever finds them", async () => {
  await using home = new Home();
  {
    using database = openDatabase(join(home.path, "state.db"));
    const records = new BoxRecords(database);
    for (const owned of [true, false]) {
      const id = owned ? "aaaaaaaaaaaa" : "bbbbbbbbbbbb";
      records.add(config(id, owned ? "owned" : "kept", { owned }));
      records.change(id, 0, { ...NEW_STATE, status: "running", pid: 1 });
    }
  }
  const runtimes = await Promise.all([home.runtime(), home.runtime()]);
  for (const runtime of runtimes) {
    await runtime.list(); // finds nothing new
    await all(runtime); // writes what it found before
  }
  const events = await all(await home.runtime());
  assert.deepEqual(events.map(say).sort(), [
    "box.crashed kept",
    "box.crashed owned",
    "box.removed owned",
  ]);
});

Deno.test("Runtime.events holds back nothing when many wait and one is slow", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  await runtime.images.pull(IMAGE);
  const slow = runtime.events();
  const quick = Array.from({ length: 20 }, () => runtime.events());
  const waiting = quick.map((events) => take(events, 2));
  await makeAndRemove(runtime, "box");
  for (const items of await Promise.all(waiting)) assert.equal(items.length, 2);
  assert.equal((await take(slow, 2)).length, 2);
});

Deno.test("Runtime.events refuses times and numbers that are none", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  for (const since of [NaN, -1, new Date("nonsense")]) {
    assert.throws(() => runtime.events({ since }), { code: "invalid_option" });
  }
  for (const events of [{ keep: 0 }, { keep: 1.5 }, { maxAgeMs: 0 }, { maxAgeMs: NaN }]) {
    await assert.rejects(home.runtime({ events }), { code: "invalid_option" });
  }
});

Deno.test("plugin.failed tells once of each hook, answer, listener and clean-up that fails", async () => {
  await using home = new Home();
  const fail = (what: string) => () => {
    throw new Error(what);
  };
  const around = definePlugin({
    name: "around",
    operations: { remove: { wrap: (i, next) => next(i) } },
  });
  const guilty = definePlugin({
    name: "guilty",
    order: "post",
    operations: { remove: { before: fail("no removal") } },
    on: { "box.created": fail("deaf") },
    setup: () => ({ [Symbol.dispose]: fail("unclean") }),
  });
  const runtime = await Runtime.open({ home: home.path, plugins: [around, guilty] });
  const box = await runtime.create({ image: IMAGE, name: "box" });
  await assert.rejects(box.remove(), { code: "plugin_failed" });
  await assert.rejects(runtime.close(), { code: "plugin_failed" });
  const failures = await all(await home.runtime(), { types: ["plugin.failed"] });
  assert.deepEqual(
    failures.map((item) =>
      item.type === "plugin.failed" && [item.plugin, item.hook, item.message, item.box]
    ),
    [
      ["guilty", "on.box.created", "deaf", box.id],
      ["guilty", "remove.before", "no removal", box.id],
      ["guilty", "dispose", "unclean", null],
    ],
  );
  assert.equal((await (await home.runtime()).metrics()).pluginFailures, 3);
});

Deno.test("plugin.failed tells of a plugin that can't be set up", async () => {
  await using home = new Home();
  const plugin = definePlugin({
    name: "never",
    setup: () => {
      throw new Error("no");
    },
  });
  await assert.rejects(home.runtime({ plugins: [plugin] }), { code: "plugin_failed" });
  const [event] = await all(await home.runtime());
  assert.ok(event?.type === "plugin.failed");
  assert.deepEqual([event.plugin, event.hook], ["never", "setup"]);
});

Deno.test("Box.metrics says why a box that doesn't run uses nothing", async () => {
  await using home = new Home();
  const runtime = await home.runtime();
  const box = await runtime.create({ image: IMAGE, name: "box" });
  const metrics = await box.metrics();
  assert.deepEqual(
    { ...metrics, at: "" },
    {
      id: box.id,
      name: "box",
      status: "configured",
      at: "",
      cpu: null,
      memory: null,
      disk: null,
      guest: null,
      network: null,
      unavailable: {
        cpu: "the box is configured",
        memory: "the box is configured",
        disk: "the box has none yet",
        guest: "the box is configured",
        network: "the box is configured",
      },
      execs: { started: 0, running: 0, nonzero: 0, failed: 0 },
      starts: { succeeded: 0, failed: 0, lastMs: null, stages: {} },
    },
  );
  await box.remove();
  await assert.rejects(box.metrics(), { code: "box_not_found" });
});
