/**
 * A database in a box that is written to while the box's disk is taken in each way there is.
 */
import assert from "node:assert/strict";
import type { Box } from "../../mod.ts";
import { checkDatabase, DatabaseLoad } from "../support/database_load.ts";
import { DebianLayout, needsDebian } from "../support/debian_image.ts";
import { BOX, withRuntime } from "./support.ts";

const { ignore, note } = needsDebian();

Deno.test(`a database under load is whole in each snapshot and clone of its box${note}`, {
  ignore,
}, () =>
  withRuntime(async (runtime) => {
    await using layout = new DebianLayout();
    const box = await runtime.create({ ...BOX, image: layout.reference, name: "db", disk: 512 });
    /** What had been committed when each copy was made. */
    const promised = new Map<string, readonly number[]>();
    const live: Box[] = [];
    {
      await using wal = new DatabaseLoad(box, "wal");
      await using rollback = new DatabaseLoad(box, "delete");
      const loads = [wal, rollback];
      const goOn = () => Promise.all(loads.map((load) => load.goesOn(3)));
      const noted = (name: string) => promised.set(name, loads.map(({ told }) => told));
      for (const name of ["first", "second"]) {
        await goOn();
        noted(name);
        const { consistency, reason } = await box.snapshots.create(name);
        assert.deepEqual([consistency, reason], ["filesystem", null]);
      }
      await goOn();
      await box.pause(); // nothing can be frozen then
      noted("paused");
      assert.equal((await box.snapshots.create("paused")).consistency, "crash");
      await box.resume();
      await goOn();
      noted("live");
      live.push(...await box.clone({ name: "live" }));
      await goOn();
    }
    await box.stop();
    const check = async (copy: Box, name: string) => {
      const found: number[] = [];
      for (const mode of ["wal", "delete"]) found.push(await checkDatabase(copy, `/${mode}.db`));
      const least = promised.get(name) ?? [];
      assert.equal(least.length, found.length);
      least.forEach((round, index) => {
        assert.ok((found[index] ?? 0) >= round, `${name} has ${found}, ${least} were committed`);
      });
      await copy.remove({ force: true });
      return found;
    };
    for (const copy of live) await check(copy, "live");
    for (const snapshot of ["second", "paused"]) {
      for (const copy of await box.clone({ name: snapshot, snapshot })) await check(copy, snapshot);
    }
    await box.snapshots.restore("first");
    const [then = 0] = await check(box, "first");
    assert.ok(then < (promised.get("live")?.[0] ?? 0), "the restored one isn't older");
  }));
