import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { filesIn } from "../box/snapshot_model.ts";
import { engineDouble } from "../doubles/engine.ts";
import { untilNoProcess } from "../support/leftovers.ts";
import "../support/native.ts";
import { diesAtPoints } from "./each_point.ts";

const VICTIM = fileURLToPath(new URL("./memory_victim.ts", import.meta.url));

Deno.test("kill -9 at any write leaves kept memory whole or gone, and boxes that go on from it", () =>
  diesAtPoints({
    victim: VICTIM,
    every: Number(Deno.env.get("CRASH_EVERY") ?? 25),
    counts: (deed) => !["open", "create", "start", "close"].includes(deed),
    check,
  }));

/** What is recorded works, what isn't goes, and in the end nothing is left. */
async function check(home: string, deed: string): Promise<void> {
  await untilNoProcess(home);
  {
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ overlay: true, diskSwitch: true, memory: true })],
    });
    const names = (await runtime.list({ all: true })).map(({ name }) => name);
    if (deed !== "gone") assert.ok(names.includes("warm"));
    for (const name of names.filter((name) => name !== "warm")) {
      const box = await runtime.get(name);
      await box.start(); // from what it has links of, or without
      assert.ok(!await exists(join(home, "boxes", box.id, "memory")), "it loads them once");
      await box.stop();
      await box.start();
      await box.remove({ force: true });
    }
    if (names.includes("warm")) await checkSource(runtime);
    assert.deepEqual(await runtime.list({ all: true }), []);
  }
  assert.deepEqual(filesIn(join(home, "backing")), []);
  assert.deepEqual(filesIn(join(home, "boxes")), []);
}

async function checkSource(runtime: Runtime): Promise<void> {
  const box = await runtime.get("warm");
  for (const { name, memory, memoryBytes } of await box.snapshots.list()) {
    if (!memory) continue; // of the disk that a restore would have dropped
    assert.ok(memoryBytes > 0, name);
    const fork = await runtime.create({ from: { box: box.id, snapshot: name } });
    await fork.start();
    await fork.remove({ force: true });
  }
  await box.start();
  await box.snapshots.create("next", { memory: true });
  const known = (await box.snapshots.list()).filter(({ memory }) => memory);
  const folder = join(runtime.home, "boxes", box.id, "snapshots");
  const kept = [...Deno.readDirSync(folder)].map(({ name }) => name)
    .filter((name) => name.includes(".memory"));
  assert.deepEqual(kept.sort(), known.map(({ id }) => `${id}.memory`).sort());
  await box.remove({ force: true });
}
