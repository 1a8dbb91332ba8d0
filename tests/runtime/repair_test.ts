import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type BoxInfo, repairHome, Runtime } from "../../mod.ts";
import { writeBoxFile } from "../../src/box/box_file.ts";
import { FileLock } from "../../src/file_lock.ts";
import { HomeLock } from "../../src/runtime/home_lock.ts";
import { formatRepair } from "../../src/cli/doctor.ts";
import { BoxRecords, NEW_STATE } from "../../src/state/boxes.ts";
import { openDatabase } from "../../src/state/database.ts";
import { config } from "../state/config.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";

const IMAGE = "builtin:busybox";

/** A home with boxes, closed. */
class Home extends TempFolder {
  readonly database = join(this.path, "state.db");

  /** Creates boxes and closes the home again. */
  async create(...names: string[]): Promise<BoxInfo[]> {
    await using runtime = await Runtime.open({ home: this.path });
    for (const name of names) await runtime.create({ image: IMAGE, name, labels: { of: name } });
    return await runtime.list({ all: true, sort: "name" });
  }

  async list(): Promise<BoxInfo[]> {
    await using runtime = await Runtime.open({ home: this.path });
    return await runtime.list({ all: true, sort: "name" });
  }

  async images(): Promise<readonly unknown[]> {
    await using runtime = await Runtime.open({ home: this.path });
    return await runtime.images.list();
  }

  folder(id: string): string {
    return join(this.path, "boxes", id);
  }

  /** Changes the database, as damage or another program would. */
  sql(text: string): void {
    const database = new DatabaseSync(this.database);
    try {
      database.exec(text);
    } finally {
      database.close();
    }
  }

  repair() {
    return repairHome({ home: this.path });
  }
}

Deno.test("repairHome changes nothing in a home that is whole", async () => {
  await using home = new Home();
  const boxes = await home.create("one", "two");
  const before = await Deno.readFile(home.database);
  const report = await home.repair();
  assert.deepEqual(report, {
    home: home.path,
    problems: [],
    copies: [],
    boxes: { kept: 2, restored: [], lost: [] },
    images: { kept: 1, restored: [], lost: [] },
    volumes: { kept: 0, restored: [], lost: [] },
    snapshots: { kept: 0, restored: [], lost: [] },
  });
  assert.deepEqual(await Deno.readFile(home.database), before);
  assert.deepEqual(await home.list(), boxes);
  assert.match(formatRepair(report), /^Nothing is wrong with .*: 2 boxes, 1 images\.\n$/);
});

for (
  const [why, damage] of [
    ["is missing", (path: string) => Deno.remove(path)],
    ["is empty", (path: string) => Deno.truncate(path)],
    ["isn't a database", (path: string) => Deno.writeTextFile(path, "no database ".repeat(1000))],
  ] as const
) {
  Deno.test(`repairHome rebuilds boxes and images when the database ${why}`, async () => {
    await using home = new Home();
    const boxes = await home.create("one", "two");
    const images = await home.images();
    await damage(home.database);
    const left = await Deno.readFile(home.database).catch(() => undefined);
    await assert.rejects(Runtime.open({ home: home.path }), {
      code: "state_corrupt",
      hint: /hutch doctor --repair/,
    });
    const report = await home.repair();
    assert.equal(report.boxes.kept, 0);
    assert.deepEqual(
      report.boxes.restored.map(({ id, name, status }) => ({ id, name, status })),
      boxes.map(({ id, name, status }) => ({ id, name, status })).sort((a, b) =>
        a.id < b.id ? -1 : 1
      ),
    );
    assert.deepEqual([report.boxes.lost, report.images.lost], [[], []]);
    assert.deepEqual(await home.list(), boxes);
    assert.deepEqual(await home.images(), images);
    if (left?.length) {
      assert.match(report.copies[0] ?? "", /state\.db\.damaged-\d{8}T\d{6}Z$/);
      assert.deepEqual(await Deno.readFile(report.copies[0] ?? ""), left);
    }
    // It is whole now.
    assert.deepEqual((await home.repair()).problems, []);
  });
}

Deno.test("repairHome reads both sides of a damaged page, and takes the rest from the folders", async () => {
  await using home = new Home();
  await home.create();
  {
    using database = openDatabase(home.database);
    const records = new BoxRecords(database, (config) => {
      writeBoxFile({ folder: home.folder(config.id) }, config);
    });
    const exec = { env: { A: "x".repeat(500) }, cwd: "/", user: "" };
    for (let n = 0; n < 300; n++) {
      const id = (n * 0x1_0000_0001).toString(16).padStart(12, "0");
      records.add(config(id, `box-${n}`, { exec }));
      records.change(id, 0, { ...NEW_STATE, status: "failed", reason: `for ${n}` });
    }
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  }
  {
    using file = await Deno.open(home.database, { write: true });
    await file.seek(innerPage(home.database, "boxes") * 4096, Deno.SeekMode.Start);
    await file.write(new Uint8Array(4096).fill(0x5a));
  }
  const report = await home.repair();
  assert(report.problems.some((problem) => /malformed/.test(problem)), report.problems.join("\n"));
  const restored = new Set(report.boxes.restored.map(({ name }) => name));
  assert(restored.size > 0 && restored.size < 250, `${restored.size} were restored`);
  assert(!restored.has("box-0") && !restored.has("box-299"), [...restored].join(" "));
  assert.deepEqual([report.boxes.kept + restored.size, report.boxes.lost], [300, []]);
  const boxes = await home.list();
  assert.equal(boxes.length, 300);
  for (const { name, status, reason } of boxes) {
    const expected = restored.has(name) ? ["configured", null] : ["failed", `for ${name.slice(4)}`];
    assert.deepEqual([status, reason], expected);
  }
});

/** Number of the page, from 0, that the middle of a table's root points to. */
function innerPage(path: string, table: string): number {
  using database = new DatabaseSync(path);
  const root = database.prepare("SELECT rootpage FROM sqlite_master WHERE name = ?").get(table);
  const bytes = Deno.readFileSync(path);
  const at = (Number(root?.rootpage) - 1) * 4096;
  const view = new DataView(bytes.buffer, at, 4096);
  assert.equal(view.getUint8(0), 5, "the table has inner pages");
  const cells = view.getUint16(3);
  const cell = view.getUint16(12 + 2 * (cells >> 1));
  return view.getUint32(cell) - 1;
}

Deno.test("repairHome restores a damaged row from its folder and leaves the others as they are", async () => {
  await using home = new Home();
  const boxes = await home.create("one", "two", "three");
  home.sql("UPDATE boxes SET config = '{' WHERE name = 'two'");
  home.sql(
    `UPDATE box_states SET status = 'failed', document = json_set(document, '$.reason', 'why')
    WHERE box_id = (SELECT id FROM boxes WHERE name = 'one')`,
  );
  home.sql("DELETE FROM box_states WHERE box_id = (SELECT id FROM boxes WHERE name = 'three')");
  const damaged: string[] = [];
  {
    await using runtime = await Runtime.open({ home: home.path });
    const left = await runtime.list({ all: true, onDamaged: ({ name }) => damaged.push(name) });
    assert.deepEqual(left.map(({ name }) => name), ["one"]);
    await assert.rejects(runtime.get("two"), { code: "state_corrupt", hint: /doctor --repair/ });
  }
  assert.deepEqual(damaged, ["two"]);
  const report = await home.repair();
  assert.deepEqual(report.boxes.restored.map(({ name }) => name).sort(), ["three", "two"]);
  assert.equal(report.copies.length, 1);
  const now = await home.list();
  assert.deepEqual(
    now.map(({ status, reason, ...rest }) => [rest.name, status, reason]),
    [["one", "failed", "why"], ["three", "configured", null], ["two", "configured", null]],
  );
  assert.deepEqual(now.map(({ config }) => config), boxes.map(({ config }) => config));
});

Deno.test("repairHome tells of boxes that it can't restore, and leaves their folders", async () => {
  await using home = new Home();
  const [clash, odd, gone, other] = await home.create("clash", "odd", "gone", "other");
  assert(clash && odd && gone && other); // by name: clash, gone, odd, other
  const at = (name: string) => {
    const box = [clash, odd, gone, other].find((each) => each.name === name);
    assert(box);
    return box;
  };
  await Deno.remove(home.database);
  // Written by somebody else: the name of another box, something that isn't JSON, another's id.
  const first = at("clash");
  const twin = "ffffffffffff";
  await Deno.mkdir(home.folder(twin));
  await Deno.writeTextFile(
    join(home.folder(twin), "box.json"),
    JSON.stringify({ ...first.config, id: twin }),
  );
  await Deno.writeTextFile(join(home.folder(at("odd").id), "box.json"), "not JSON");
  await Deno.mkdir(home.folder("eeeeeeeeeeee"));
  await Deno.writeTextFile(
    join(home.folder("eeeeeeeeeeee"), "box.json"),
    JSON.stringify(first.config),
  );
  await Deno.mkdir(home.folder("dddddddddddd"));
  await Deno.writeTextFile(join(home.folder("dddddddddddd"), "disk.qcow2"), "data");
  await Deno.mkdir(home.folder("cccccccccccc")); // nothing in it: nobody's
  const report = await home.repair();
  const lost = new Map(report.boxes.lost.map(({ folder, problem }) => [folder, problem]));
  assert.equal(
    lost.get(home.folder(twin)),
    `its name ${JSON.stringify(first.name)} is taken by another box`,
  );
  assert.match(lost.get(home.folder("eeeeeeeeeeee")) ?? "", /it is of box/);
  assert.match(lost.get(home.folder("dddddddddddd")) ?? "", /there is no box\.json$/);
  assert.match(lost.get(home.folder(at("odd").id)) ?? "", /its box\.json can't be read: .*JSON/);
  assert.equal(lost.size, 4);
  // Neither listing nor repairing again clears them away.
  assert.equal((await home.list()).length, 3);
  assert.equal((await home.repair()).boxes.lost.length, 4);
  for (const folder of lost.keys()) await Deno.stat(folder ?? "");
  await assert.rejects(Deno.stat(home.folder("cccccccccccc")), Deno.errors.NotFound);
});

Deno.test("repairHome finds out what became of each box", async () => {
  await using home = new Home();
  const exit = (reason: string, message = "") =>
    JSON.stringify({ reason, message, at: "2026-01-01T00:00:00.000Z" });
  const table: [string, Record<string, string>, [string, string | null]][] = [
    ["never", {}, ["configured", null]],
    ["shutdown", { "exit.json": exit("shutdown") }, ["stopped", null]],
    ["killed", { "exit.json": exit("killed") }, ["stopped", "it was killed"]],
    ["crash", { "exit.json": exit("guest", "panic") }, ["crashed", "panic"]],
    ["unknown", {}, ["stopped", "how it ended went with its record"]],
    ["runs", {}, ["running", null]],
  ];
  const boxes = await home.create(...table.map(([name]) => name));
  using held = new DisposableStack();
  for (const [name, files] of table) {
    const folder = home.folder(boxes.find((box) => box.name === name)?.id ?? "");
    if (name === "never") continue;
    await Deno.writeTextFile(join(folder, "machine.json"), '{"runner":"file:///nobody.ts"}');
    for (const [file, text] of Object.entries(files)) {
      await Deno.writeTextFile(join(folder, file), text);
    }
    if (name === "runs") held.use(await FileLock.acquire(join(folder, "running.lock")));
  }
  await Deno.remove(home.database);
  const report = await home.repair();
  const runs = report.boxes.restored.find(({ name }) => name === "runs");
  assert.equal(runs?.status, "running");
  const now = await home.list();
  for (const [name, , [status, reason]] of table) {
    const box = now.find((each) => each.name === name);
    assert.deepEqual([box?.status, box?.reason], [status, reason], name);
    if (name === "runs") assert.equal(box?.pid, Deno.pid); // who holds the lock
  }
});

Deno.test("repairHome keeps out of a home that a program has open, and programs out of its own", async () => {
  await using home = new Home();
  await home.create("one");
  {
    await using _runtime = await Runtime.open({ home: home.path });
    await using _another = await Runtime.open({ home: home.path });
    await assert.rejects(home.repair(), {
      code: "home_unusable",
      message: `Cannot repair home ${home.path}: a program has it open`,
    });
  }
  {
    using _repair = HomeLock.own(home.path);
    await assert.rejects(Runtime.open({ home: home.path }), {
      code: "home_unusable",
      message: /it is being repaired$/,
    });
  }
  assert.equal((await home.list()).length, 1);
});

Deno.test("repairHome leaves a newer hutch's database alone, and asks for a home", async () => {
  await using home = new Home();
  await home.create("one");
  home.sql("PRAGMA user_version = 999");
  const before = await Deno.readFile(home.database);
  await assert.rejects(home.repair(), { code: "state_too_new" });
  assert.deepEqual(await Deno.readFile(home.database), before);
  assert.deepEqual(
    [...Deno.readDirSync(home.path)].filter(({ name }) => /repair|damaged/.test(name)),
    [],
  );
  await assert.rejects(repairHome({ home: join(home.path, "nowhere") }), { code: "home_unusable" });
});

Deno.test("repairHome takes what is only in the database's log, and keeps the log with the copy", async () => {
  await using home = new Home();
  await using copy = new Home();
  {
    await using runtime = await Runtime.open({ home: home.path });
    await runtime.create({ image: IMAGE, name: "one" });
    await runtime.create({ image: IMAGE, name: "two" });
    // As kill -9 would leave it: nothing is written back into the database itself.
    for (const suffix of ["", "-wal"]) {
      await Deno.copyFile(home.database + suffix, copy.database + suffix);
    }
  }
  await Deno.mkdir(copy.folder("abcdefabcdef"), { recursive: true });
  await Deno.writeTextFile(join(copy.folder("abcdefabcdef"), "disk.qcow2"), "");
  const report = await copy.repair();
  assert.equal(report.boxes.kept, 2);
  assert.deepEqual(report.copies.map((path) => path.replace(/.*damaged-\w+/, "")), ["", "-wal"]);
  assert.deepEqual((await copy.list()).map(({ name }) => name), ["one", "two"]);
});

Deno.test("repairHome starts over after a repair that died, and drops images' damaged records", async () => {
  await using home = new Home();
  await home.create("one");
  const images = await home.images();
  await Deno.mkdir(join(home.path, "repair.tmp"));
  await Deno.writeTextFile(join(home.path, "repair.tmp", "new.db"), "half");
  home.sql("UPDATE image_references SET record = '{'; UPDATE images SET record = 'x'");
  const report = await home.repair();
  assert.deepEqual(report.images, { kept: 0, restored: [IMAGE], lost: [] });
  assert.deepEqual(await home.images(), images);
  await assert.rejects(Deno.stat(join(home.path, "repair.tmp")), Deno.errors.NotFound);
  // Without the blobs they are lost, and said to be.
  home.sql("DELETE FROM images");
  await Deno.remove(join(home.path, "blobs", "sha256"), { recursive: true });
  const again = await home.repair();
  assert.deepEqual(again.images.restored, []);
  assert.equal(again.images.lost[0]?.reference, IMAGE);
  assert.match(formatRepair(again), /\n {2}lost {6}builtin:busybox.*: the blobs of sha256:/);
});

Deno.test("repairHome knows the names that images were given, and none that were taken away", async () => {
  await using home = new Home();
  const saved = join(home.path, "images.tar");
  await home.create("one");
  {
    await using runtime = await Runtime.open({ home: home.path });
    await runtime.images.tag(IMAGE, "mine:1");
    await runtime.images.tag(IMAGE, "gone:1");
    await runtime.images.save(["mine:1"], { to: saved });
    await runtime.images.remove("gone:1");
  }
  const before = await home.images();
  assert.equal(before.length, 2);
  await Deno.remove(home.database);
  const report = await home.repair();
  assert.deepEqual([...report.images.restored].sort(), [
    IMAGE,
    "registry:docker.io/library/mine:1",
  ]);
  assert.deepEqual(report.images.lost, []);
  assert.deepEqual(await home.images(), before);
  {
    // Without a name, a box's own image is known by its digest.
    await using runtime = await Runtime.open({ home: home.path });
    for (const name of [IMAGE, "mine:1"]) await runtime.images.remove(name, { force: true });
    assert.equal((await runtime.images.list({ all: true })).length, 1);
  }
  await Deno.remove(home.database);
  assert.equal((await home.repair()).images.restored.length, 1);
  assert.deepEqual(await home.images(), []);

  await using other = new Home();
  {
    await using runtime = await Runtime.open({ home: other.path });
    await runtime.images.load(saved);
  }
  const loaded = await other.images();
  await Deno.remove(other.database);
  await other.repair();
  assert.deepEqual(await other.images(), loaded);
});
