import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { repairHome, Runtime } from "../../mod.ts";
import { filesIn } from "../box/snapshot_model.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";
import { needs, runTool } from "../support/tools.ts";

const qemu = needs("qemu-img", "qemu-io");

function open(home: string): Promise<Runtime> {
  return Runtime.open({ home, plugins: [engineDouble({ overlay: true })] });
}

/** A home with a box, two snapshots and a clone that was never started. */
async function makeHome(): Promise<string> {
  const home = await makeDoubleHome();
  await using runtime = await open(home);
  const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
  await box.start();
  await box.stop();
  const disk = join(home, "boxes", box.id, "disk.qcow2");
  await runTool("qemu-io", "-c", "write -P 1 0 64k", disk);
  await box.snapshots.create("first", { labels: { a: "b" } });
  await runTool("qemu-io", "-c", "write -P 2 64k 64k", disk);
  await box.snapshots.create("second");
  await box.clone({ name: "copy" });
  return home;
}

for (
  const [why, damage] of [
    ["isn't there", (path: string) => Deno.remove(path)],
    ["has lost its snapshots", (path: string) => {
      using database = new DatabaseSync(path);
      database.exec("DELETE FROM snapshots; DELETE FROM box_disks; DELETE FROM backing_disks");
      return Promise.resolve();
    }],
    ["has a snapshot that can't be read", (path: string) => {
      using database = new DatabaseSync(path);
      database.exec("UPDATE snapshots SET record = '{' WHERE name = 'first'");
      return Promise.resolve();
    }],
  ] as const
) {
  Deno.test(`repairHome has snapshots and clones back when the database ${why}${qemu.note}`, {
    ignore: qemu.ignore,
  }, async () => {
    const home = await makeHome();
    try {
      await damage(join(home, "state.db"));
      const report = await repairHome({ home });
      assert.ok(report.snapshots.restored.includes("one first"), JSON.stringify(report));
      assert.deepEqual(report.snapshots.lost, []);
      assert.deepEqual((await repairHome({ home })).problems, []);
      await using runtime = await open(home);
      const box = await runtime.get("one");
      const names = (await box.snapshots.list()).map(({ name, labels }) => [name, labels]);
      assert.deepEqual(names, [["first", { a: "b" }], ["second", {}]]);
      assert.equal((await box.snapshots.diff("first")).blocks, 1);
      const copy = await runtime.get("copy");
      const path = join(home, "boxes", copy.id, "disk.qcow2");
      await runTool("qemu-io", "-r", "-c", "read -P 1 0 64k", "-c", "read -P 2 64k 64k", path);
      await box.remove();
      assert.equal(filesIn(join(home, "backing")).length, 2); // the clone has them
      await copy.remove();
      assert.deepEqual(filesIn(join(home, "backing")), []);
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
}

Deno.test(`repairHome keeps what a box is over that it couldn't restore${qemu.note}`, {
  ignore: qemu.ignore,
}, async () => {
  const home = await makeHome();
  try {
    const { id } = await (async () => {
      await using runtime = await open(home);
      return (await (await runtime.get("copy")).info());
    })();
    await Deno.writeTextFile(join(home, "boxes", id, "box.json"), "{");
    await Deno.remove(join(home, "state.db"));
    assert.equal((await repairHome({ home })).boxes.lost.length, 1);
    await using runtime = await open(home);
    await (await runtime.get("one")).remove();
    await runtime.list({ all: true });
    const path = join(home, "boxes", id, "disk.qcow2");
    await runTool("qemu-io", "-r", "-c", "read -P 2 64k 64k", path);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
