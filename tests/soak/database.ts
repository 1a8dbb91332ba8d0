/**
 * A database under load whose box is snapshotted and cloned over and over: `DATABASE_ROUNDS`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { checkDatabase, DatabaseLoad } from "../support/database_load.ts";
import { DebianLayout, needsDebian } from "../support/debian_image.ts";
import { BOX, TEST_ENGINE, withRuntime } from "../e2e/support.ts";

const ROUNDS = Number(Deno.env.get("DATABASE_ROUNDS") ?? 50);
/** Snapshots that are there at once; the oldest goes first, and chains are made shorter. */
const KEPT = 4;

const { ignore, note } = needsDebian();
Deno.test(`a database is whole in ${ROUNDS} snapshots and live clones on ${TEST_ENGINE}${note}`, {
  ignore,
}, () =>
  withRuntime(async (runtime) => {
    await using layout = new DebianLayout();
    const box = await runtime.create({ ...BOX, image: layout.reference, name: "db", disk: 1024 });
    await using wal = new DatabaseLoad(box, "wal");
    await using rollback = new DatabaseLoad(box, "delete");
    const loads = [wal, rollback];
    for (let round = 0; round < ROUNDS; round++) {
      await Promise.all(loads.map((load) => load.goesOn(2)));
      const told = loads.map((load) => load.told);
      await box.snapshots.create(`s${round}`);
      const [clone] = round % 2
        ? await box.clone({ name: "copy", snapshot: `s${round}` })
        : await box.clone({ name: "copy" });
      assert.ok(clone);
      for (const [index, { path }] of loads.entries()) {
        const found = await checkDatabase(clone, path);
        assert.ok(found >= (told[index] ?? 0), `${path}: ${found} of ${told[index]} in ${round}`);
      }
      await clone.remove({ force: true });
      if (round >= KEPT) await box.snapshots.remove(`s${round - KEPT}`);
    }
    await box.remove({ force: true });
  }));
