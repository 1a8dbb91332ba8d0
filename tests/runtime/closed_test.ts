import assert from "node:assert/strict";
import { Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";

Deno.test("what is asked of a runtime that was closed rejects, and says so", async () => {
  const home = await makeDoubleHome();
  try {
    const runtime = await Runtime.open({ home, plugins: [engineDouble()] });
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await runtime.close();
    const asked: Record<string, () => Promise<unknown>> = {
      create: () => runtime.create({ ...DOUBLE_BOX, name: "two" }),
      get: () => runtime.get("one"),
      list: () => runtime.list(),
      events: async () => await Array.fromAsync(runtime.events()), // gives no promise
      metrics: () => runtime.metrics(),
      images: () => runtime.images.list(),
      volumes: () => runtime.volumes.list(),
      "volumes.create": () => runtime.volumes.create({ name: "one" }),
      info: () => box.info(),
      start: () => box.start(),
      exec: async () => await box.exec("true"),
      rename: () => box.rename("two"),
      update: () => box.update({ labels: { a: "b" } }),
      remove: () => box.remove(),
      "snapshots.list": () => box.snapshots.list(),
      "snapshots.create": () => box.snapshots.create("one"),
    };
    for (const [what, ask] of Object.entries(asked)) {
      let asking: Promise<unknown> | undefined;
      assert.doesNotThrow(() => asking = ask(), what);
      await assert.rejects(asking ?? Promise.resolve(), { code: "cancelled" }, what);
    }
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
