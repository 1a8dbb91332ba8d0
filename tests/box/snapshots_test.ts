import assert from "node:assert/strict";
import { join } from "node:path";
import { type Box, HutchError, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { filesIn, Model } from "./snapshot_model.ts";
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
