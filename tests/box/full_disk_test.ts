import assert from "node:assert/strict";
import { HutchError, Runtime } from "../../mod.ts";
import { existsSync } from "node:fs";
import { keepReserve, spendReserve } from "../../src/state/reserve.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX } from "../doubles/home.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";
import { SmallHome } from "../support/small_home.ts";
import { until } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { filesIn, onDisk, patternsIn, writePattern } from "./snapshot_model.ts";

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

Deno.test(
  `Clones whose disks find no room are there, and get their disks when they start${note}${rootNote}`,
  {
    ignore: ignore || Deno.uid() !== 0,
  },
  async () => {
    await using home = await SmallHome.make("size=24m");
    const log: string[] = [];
    await using runtime = await Runtime.open({
      home: home.path,
      plugins: [engineDouble({ overlay: true })],
      log: (line) => log.push(line),
    });
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await box.start();
    await box.stop();
    await runTool("qemu-io", "-c", "write -P 1 0 64k", `${home.path}/boxes/${box.id}/disk.qcow2`);
    const clones = [];
    {
      using _full = home.fill();
      const { size } = Deno.statSync(`${home.path}/fill`);
      Deno.truncateSync(`${home.path}/fill`, size - (768 << 10)); // for some of their disks
      clones.push(...await box.clone({ name: "more", count: 50 }));
      assert.match(log.join("\n"), /^box "more-1": a disk is yet to be made: /m);
      const without = clones.filter(({ id }) => !existsSync(`${home.path}/boxes/${id}/disk.qcow2`));
      assert.ok(without.length > 0 && without.length < 50, `${without.length} have no disk`);
      await noSpace(clones.at(-1)?.start() ?? Promise.resolve());
    }
    assert.equal(clones.length, 50);
    const last = clones.at(-1);
    await last?.start();
    await runTool("qemu-img", "check", "-q", `${home.path}/boxes/${last?.id}/disk.qcow2`);
  },
);

Deno.test(
  `A chain that finds no room to be made shorter stays as it is, and is made so later${note}${rootNote}`,
  {
    ignore: ignore || Deno.uid() !== 0,
  },
  async () => {
    await using home = await SmallHome.make("size=24m");
    const log: string[] = [];
    const openLogging = () =>
      Runtime.open({
        home: home.path,
        plugins: [engineDouble({ overlay: true })],
        log: (line) => log.push(line),
      });
    let id = "";
    {
      await using runtime = await openLogging();
      const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
      id = box.id;
      await box.start();
      await box.stop();
      const disk = `${home.path}/boxes/${id}/disk.qcow2`;
      for (let n = 1; n <= 3; n++) {
        await writePattern(home.path, id, n);
        // More than the reserve has room for, which the removal gets.
        await onDisk(home.path, id, "qemu-io", "-c", `write -P ${n} 8M 1M`, disk);
        await box.snapshots.create(`s${n}`);
      }
    }
    const links = () => filesIn(`${home.path}/backing`).length;
    const merging = () => log.filter((line) => line.startsWith("shortening a disk"));
    {
      using _full = home.fill();
      {
        await using runtime = await openLogging();
        await (await runtime.get(id)).snapshots.remove("s2"); // its end waits for what follows
      }
      assert.match(merging().join(), /no space is left on its disk/);
      assert.equal(links(), 3);
    }
    await using runtime = await openLogging();
    const box = await runtime.get(id);
    const has = async (backing: string | null, last: number) => {
      const path = `${home.path}/backing/${backing}/disk.qcow2`;
      await runTool("qemu-img", "check", "-q", path);
      const all = Array.from({ length: last }, (_, index) => index + 1);
      assert.deepEqual(await patternsIn(home.path, id, { path, last: 3 }), all);
    };
    const assertSnapshots = async () => {
      for (const { name, backing } of await box.snapshots.list()) {
        await has(backing, Number(name.slice(1)));
      }
    };
    assert.deepEqual(unfinishedIn(`${home.path}/backing`), []);
    await assertSnapshots();
    await writePattern(home.path, id, 4);
    await box.snapshots.create("s4"); // there is room again
    await box.snapshots.remove("s4");
    await until(() => Promise.resolve(links() <= 3), () => Promise.resolve(`${links()} links`));
    await assertSnapshots();
    assert.equal(merging().length, 1);
    await box.remove();
    assert.deepEqual(filesIn(`${home.path}/backing`), []);
  },
);

function unfinishedIn(folder: string): string[] {
  return filesIn(folder).flatMap((id) => filesIn(`${folder}/${id}`))
    .filter((name) => name !== "disk.qcow2");
}

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
