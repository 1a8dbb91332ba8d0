import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, type BoxOptions, HutchError, Runtime } from "../../mod.ts";
import { parseSnapshotRecord } from "../../src/state/snapshot_rows.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { filesIn, Model, onDisk } from "./snapshot_model.ts";
import { needs, runTool } from "../support/tools.ts";
import "../support/native.ts";

const qemu = needs("qemu-img", "qemu-io");

async function withRuntime(
  body: (runtime: Runtime, home: string) => Promise<void>,
): Promise<void> {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ overlay: true })],
    });
    await body(runtime, home);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, expected, error.message);
    return true;
  };
}

/** Makes the box's disk, which a start does. */
async function booted(box: Box): Promise<void> {
  await box.start();
  await box.stop();
}

Deno.test("Snapshots of a box that was never started are of its image's disk", () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    const made = await box.snapshots.create("first", { labels: { why: "test" } });
    assert.equal(made.backing, null);
    assert.equal(made.consistency, "stopped");
    assert.deepEqual((await box.snapshots.list()).map(({ name }) => name), ["first"]);
    await assert.rejects(box.snapshots.create("first"), code("name_taken"));
    await assert.rejects(box.snapshots.create("a/b"), code("invalid_option"));
    await assert.rejects(box.snapshots.get("other"), code("snapshot_not_found"));
    await box.snapshots.remove("first");
    await assert.rejects(box.snapshots.remove("first"), code("snapshot_not_found"));
    assert.deepEqual(filesIn(join(home, "backing")), []);
    await box.remove();
  }));

Deno.test(`Snapshots of a stopped box copy nothing${qemu.note}`, {
  ignore: qemu.ignore,
}, () =>
  withRuntime(async (runtime, home) => {
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await booted(box);
    const disk = join(home, "boxes", box.id, "disk.qcow2");
    await runTool("qemu-io", "-c", "write -P 1 0 64k", disk);
    const { ino } = await Deno.stat(disk);
    const first = await box.snapshots.create("first");
    assert.equal(
      (await Deno.stat(join(home, "backing", String(first.backing), "disk.qcow2"))).ino,
      ino,
    );
    // Nothing was written since: nothing new is made.
    const again = await box.snapshots.create("again");
    assert.equal(again.backing, first.backing);
    assert.equal((await box.snapshots.diff("first")).blocks, 0);
    await runTool("qemu-io", "-c", "write -P 2 1M 128k", disk);
    assert.deepEqual(await box.snapshots.diff("first"), {
      ...{ from: "first", to: null, blocks: 2, blockBytes: 65_536, bytes: 131_072 },
    });
    const { safety } = await box.snapshots.restore("first");
    assert.ok(safety);
    assert.equal((await box.snapshots.diff("first", { to: safety.name })).blocks, 2);
    assert.equal((await box.snapshots.diff(safety.name)).blocks, 2);
    await runTool("qemu-io", "-c", "read -P 0 1M 128k", "-c", "read -P 1 0 64k", disk);
    await box.snapshots.restore(safety.name, { force: true });
    await runTool("qemu-io", "-c", "read -P 2 1M 128k", "-c", "read -P 1 0 64k", disk);
    await box.remove();
    assert.deepEqual(filesIn(join(home, "backing")), []);
  }));

Deno.test(`Box.clone makes boxes of their own that share blocks${qemu.note}`, {
  ignore: qemu.ignore,
}, () =>
  withRuntime(async (runtime, home) => {
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one", labels: { a: "1" } });
    await booted(box);
    const disk = join(home, "boxes", box.id, "disk.qcow2");
    await runTool("qemu-io", "-c", "write -P 1 0 64k", disk);
    await box.snapshots.create("first");
    await runTool("qemu-io", "-c", "write -P 2 0 64k", disk);
    const [old] = await box.clone({ name: "old", snapshot: "first", labels: { b: "2" } });
    const clones = await box.clone({ name: "new", count: 3 });
    assert.ok(old);
    assert.deepEqual(clones.map(({ name }) => name), ["new-1", "new-2", "new-3"]);
    assert.equal(new Set(clones.map(({ id }) => id)).size, 3);
    assert.deepEqual(clones.map(({ config }) => config.hostname), ["new-1", "new-2", "new-3"]);
    assert.deepEqual(old.config.labels, { b: "2" });
    await assert.rejects(box.clone({ name: "new", count: 2 }), code("name_taken"));
    await assert.rejects(box.clone({ snapshot: "none" }), code("snapshot_not_found"));
    await assert.rejects(box.clone({ count: 0 }), code("invalid_option"));
    await box.remove(); // what the clones share stays
    for (const clone of [old, ...clones]) {
      const pattern = clone === old ? 1 : 2;
      const path = join(home, "boxes", clone.id, "disk.qcow2");
      await runTool("qemu-io", "-r", "-c", `read -P ${pattern} 0 64k`, path);
      await runTool("qemu-img", "check", path);
    }
    for (const each of [old, ...clones]) await each.remove();
    assert.deepEqual(filesIn(join(home, "backing")), []);
  }));

Deno.test("Box.clone gives a hundred clones of a stopped box within a moment", () =>
  withRuntime(async (runtime, home) => {
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await booted(box);
    const clones = await box.clone({ name: "many", count: 100 });
    assert.equal(clones.length, 100);
    assert.equal((await runtime.list({ all: true })).length, 101);
    assert.equal(filesIn(join(home, "boxes")).length, 101);
  }));

Deno.test("Snapshots and clones are refused while the same code has the box stand still", () =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    const { value, consistency } = await box.quiesce(async () => {
      await assert.rejects(box.snapshots.create("first"), code("box_state"));
      return 7;
    });
    assert.deepEqual([value, consistency], [7, "stopped"]);
    await box.remove();
  }));

const SEEDS = Deno.env.get("SNAPSHOT_SEEDS")?.split(",").map(Number) ?? [1];

Deno.test(
  `Snapshots that went leave no links behind${qemu.note}`,
  { ignore: qemu.ignore },
  async () => {
    const home = await makeDoubleHome();
    const open = () =>
      Runtime.open({
        home,
        plugins: [engineDouble({ overlay: true })],
        log: (line) => lines.push(line),
      });
    const lines: string[] = [];
    try {
      {
        await using runtime = await open();
        const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
        await booted(box);
        const disk = join(home, "boxes", box.id, "disk.qcow2");
        for (const n of [1, 2, 3, 4, 5]) {
          await runTool(
            "qemu-io",
            "-c",
            `write -P ${n} ${n}M 64k`,
            "-c",
            `write -P ${n} 0 64k`,
            disk,
          );
          await box.snapshots.create(`s${n}`);
        }
        assert.equal(filesIn(join(home, "backing")).length, 5);
        for (const n of [2, 3, 5]) await box.snapshots.remove(`s${n}`);
      }
      // 2 and 3 are in 4 by now; 5 is what the box's own disk is over.
      assert.equal(filesIn(join(home, "backing")).length, 3);
      await using runtime = await open();
      const box = await runtime.get("one");
      const disk = join(home, "boxes", box.id, "disk.qcow2");
      const all = [1, 2, 3, 4, 5].flatMap((n) => ["-c", `read -P ${n} ${n}M 64k`]);
      const said = await runTool("qemu-io", "-r", ...all, "-c", "read -P 5 0 64k", disk);
      assert.doesNotMatch(said, /failed/);
      await runTool("qemu-img", "check", "-q", disk);
      const { backing } = await box.snapshots.get("s4");
      await runTool(
        "qemu-img",
        "check",
        "-q",
        join(home, "backing", String(backing), "disk.qcow2"),
      );
      assert.deepEqual(lines, []);
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  },
);

Deno.test(`Chains of backing disks don't grow beyond their limit${qemu.note}`, {
  ignore: qemu.ignore,
}, async () => {
  const home = await makeDoubleHome();
  const open = () => Runtime.open({ home, plugins: [engineDouble({ overlay: true })] });
  try {
    const patterns = Array.from({ length: 40 }, (_, n) => n + 1);
    {
      await using runtime = await open();
      const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
      await booted(box);
      const disk = join(home, "boxes", box.id, "disk.qcow2");
      for (const n of patterns) {
        await onDisk(home, box.id, "qemu-io", "-c", `write -P ${n} ${n * 64}k 64k`, disk);
        await box.snapshots.create(`s${n}`);
      }
    }
    await using runtime = await open();
    const box = await runtime.get("one");
    const disk = join(home, "boxes", box.id, "disk.qcow2");
    const { length }: { length: number } = JSON.parse(
      await onDisk(home, box.id, "qemu-img", "info", "--backing-chain", "--output=json", disk),
    );
    assert.ok(length <= 34, `${length}`);
    const reads = patterns.flatMap((n) => ["-c", `read -P ${n} ${n * 64}k 64k`]);
    await onDisk(home, box.id, "qemu-io", "-r", ...reads, disk);
    assert.equal((await box.snapshots.list()).length, 40);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

for (const seed of SEEDS) {
  Deno.test(`Snapshots keep what they are through random lives: ${seed}${qemu.note}`, {
    ignore: qemu.ignore,
  }, () =>
    withRuntime(async (runtime, home) => {
      const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
      await booted(box);
      const model = new Model(box, home, seed);
      await model.live(30, 30);
      await model.check();
      await box.remove();
      assert.deepEqual(filesIn(join(home, "backing")), []);
    }));
}

Deno.test("An engine without snapshots of memory says what serves there", () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await assert.rejects(box.snapshots.create("a", { memory: true }), code("box_state"));
    await box.start();
    await assert.rejects(box.snapshots.create("a", { memory: true }), (error) => {
      assert.ok(error instanceof HutchError);
      assert.equal(error.code, "invalid_option");
      assert.match(`${error.message} ${error.hint}`, /engine double has no .*warm_pool/);
      return true;
    });
    assert.deepEqual(await box.snapshots.list(), []);
    const { memory, memoryBytes } = await box.snapshots.create("disk");
    assert.deepEqual([memory, memoryBytes], [false, 0]);
    // What an older hutch recorded has no word of memory.
    const [name = ""] = filesIn(join(home, "boxes", box.id, "snapshots"));
    const text = Deno.readTextFileSync(join(home, "boxes", box.id, "snapshots", name));
    const { memory: _, ...older } = JSON.parse(text);
    assert.equal(parseSnapshotRecord(JSON.stringify(older)).memory, false);
    await assert.rejects(runtime.create({ from: "one/disk" }), code("snapshot_unusable"));
    for (
      const from of ["one", "one/", { box: "one", snapshot: "" }, JSON.parse('{"name":"disk"}')]
    ) {
      await assert.rejects(runtime.create({ from }), code("invalid_option"));
    }
    await assert.rejects(runtime.create({ from: "one/two/three" }), code("invalid_option"));
    await assert.rejects(runtime.create({ from: "two/disk" }), code("box_not_found"));
  }));

Deno.test("Runtime.create asks plugins about boxes that go on from memory, too", async () => {
  const home = await makeDoubleHome();
  let change: (input: BoxOptions) => BoxOptions = (input) => input;
  try {
    await using runtime = await Runtime.open({
      home,
      plugins: [
        engineDouble({ overlay: true, diskSwitch: true, memory: true }),
        { name: "limits", operations: { create: { before: (input) => change(input) } } },
      ],
    });
    await using box = await runtime.create({ ...DOUBLE_BOX, name: "warm", autoRemove: true });
    await box.start();
    await box.snapshots.create("m", { memory: true });
    const fork = async () => await runtime.create({ from: "warm/m", env: { A: "1" } });
    let asked: BoxOptions | undefined;
    change = (input) => {
      asked = input;
      return {
        ...input,
        labels: { by: "limits" },
        env: { ...input.env, B: "2" },
        restart: "always",
      };
    };
    const one = await fork();
    assert.equal(asked?.memory, DOUBLE_BOX.memory);
    assert.deepEqual(one.config.labels, { by: "limits" });
    assert.deepEqual(one.config.exec.env, { ...box.config.exec.env, A: "1", B: "2" });
    assert.equal(one.config.restart, "always");
    await one.start();
    await one.remove({ force: true });
    change = (input) => ({ ...input, memory: 256 });
    await assert.rejects(fork(), code("invalid_option"));
    change = () => {
      throw new Error("not today");
    };
    await assert.rejects(fork(), /not today/);
    assert.deepEqual((await runtime.list({ all: true })).map(({ name }) => name), ["warm"]);
    assert.equal([...Deno.readDirSync(join(home, "boxes"))].length, 1);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
