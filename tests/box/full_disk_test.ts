import assert from "node:assert/strict";
import { HutchError, Runtime } from "../../mod.ts";
import { keepReserve, spendReserve } from "../../src/state/reserve.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX } from "../doubles/home.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";
import { SmallHome } from "../support/small_home.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const { ignore, note } = needs("mount", "umount", "qemu-io", "qemu-img");
const rootNote = Deno.uid() === 0 ? "" : " (needs root)";

function open(home: string): Promise<Runtime> {
  return Runtime.open({ home, plugins: [engineDouble({ overlay: true })] });
}

Deno.test(
  `Box can be stopped, killed and removed on a full disk, and nothing new begins${note}${rootNote}`,
  {
    ignore: ignore || Deno.uid() !== 0,
  },
  async () => {
    await using home = await SmallHome.make("size=24m");
    const ids: string[] = [];
    {
      await using runtime = await open(home.path);
      const [stops, dies, goes, fails] = await Promise.all(
        ["stops", "dies", "goes", "fails"].map((name) =>
          runtime.create({ ...DOUBLE_BOX, name, restart: "always" })
        ),
      );
      assert.ok(stops && dies && goes && fails);
      for (const box of [stops, dies, goes]) await box.start();
      ids.push(...[stops, dies, goes, fails].map(({ id }) => id));
      {
        using _full = home.fill();
        await noSpace(fails.start());
        await noSpace(runtime.create({ ...DOUBLE_BOX, name: "new" }));
        assert.equal((await stops.exec("echo", ["here"])).stdout, "here\n");
        await stops.stop();
        await dies.kill();
        await goes.remove({ force: true });
        const left = await runtime.list({ all: true, sort: "name" });
        assert.deepEqual(left.map(({ name, status }) => `${name} ${status}`), [
          "dies stopped",
          "fails configured",
          "stops stopped",
        ]);
      }
      await fails.start();
    }
    {
      // Another program, which has to open the database first.
      using _full = home.fill();
      await using runtime = await open(home.path);
      for (const { id } of await runtime.list({ all: true })) {
        await (await runtime.get(id)).remove({ force: true });
      }
    }
    await assertNoBoxLeft(home.path, ids);
    {
      using _full = home.fill();
      spendReserve(pathsOf(home.path).database);
      using _fuller = home.fill("more");
      await noSpace(open(home.path));
    }
  },
);

Deno.test(
  `Snapshots and clones that find no room leave everything as it was${note}${rootNote}`,
  {
    ignore: ignore || Deno.uid() !== 0,
  },
  async () => {
    await using home = await SmallHome.make("size=24m");
    await using runtime = await open(home.path);
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await box.start();
    await box.stop();
    // Something to take: an empty disk needs no room.
    const disk = `${home.path}/boxes/${box.id}/disk.qcow2`;
    const write = (pattern: number) => runTool("qemu-io", "-c", `write -P ${pattern} 0 64k`, disk);
    await write(1);
    await box.snapshots.create("first");
    await write(2);
    {
      using _full = home.fill();
      await noSpace(box.snapshots.create("second"));
      await noSpace(box.clone({ count: 3 }));
      await noSpace(box.snapshots.restore("first"));
      await noSpace(box.snapshots.restore("first", { force: true }));
    }
    assert.deepEqual((await box.snapshots.list()).map(({ name }) => name), ["first"]);
    assert.deepEqual((await runtime.list({ all: true })).map(({ name }) => name), ["one"]);
    assert.equal([...Deno.readDirSync(`${home.path}/backing`)].length, 1);
    await runTool("qemu-io", "-r", "-c", "read -P 2 0 64k", disk);
    await runTool("qemu-img", "check", "-q", disk);
    await box.start();
    {
      // It runs: its disk is copied while it stands still.
      using _full = home.fill();
      await noSpace(box.snapshots.create("second"));
      assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
      await box.snapshots.remove("first"); // gives room back
    }
    await box.snapshots.create("second");
    await box.remove({ force: true });
    assert.deepEqual([...Deno.readDirSync(`${home.path}/backing`)], []);
  },
);

Deno.test("keepReserve fills up what spendReserve gives back, once", async () => {
  await using folder = new TempFolder();
  const database = `${folder.path}/state.db`;
  assert.equal(spendReserve(database), false);
  keepReserve(database);
  keepReserve(database);
  assert.equal(Deno.statSync(`${database}-reserve`).size, 512 * 1024);
  assert.equal(spendReserve(database), true);
  assert.equal(spendReserve(database), false);
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

async function noSpace(done: Promise<unknown>): Promise<void> {
  await assert.rejects(done, (error: unknown) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, "no_space", error.message);
    assert.match(error.message, /no space is left/);
    assert.match(error.hint ?? "", /free some room/);
    return true;
  });
}
