import assert from "node:assert/strict";
import { type BoxInfo, definePlugin, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";

/** A main command, how long it gets, and the code by which it ends; null where nobody sees it end. */
const GRACES = [
  { title: "lets a box end by itself", main: "wait", graceMs: 60_000, code: 143 },
  { title: "kills a box that outlasts its grace", main: "stubborn", graceMs: 700, code: 137 },
  { title: "kills a box at once without a grace", main: "stubborn", graceMs: 0, code: null },
];

for (const { title, main, graceMs, code } of GRACES) {
  Deno.test(`Runtime.create with replace ${title}`, async () => {
    const home = await makeDoubleHome();
    let last: BoxInfo | undefined;
    const timeouts: number[] = [];
    const watch = definePlugin({
      name: "watch",
      operations: {
        stop: { before: ({ timeoutMs }) => void timeouts.push(timeoutMs) },
        remove: { before: async (_, { box }) => void (last = await box?.info()) },
      },
    });
    try {
      await using runtime = await Runtime.open({ home, plugins: [watch, engineDouble()] });
      const old = await runtime.create({ ...DOUBLE_BOX, name: "one", main: [main] });
      await old.start();
      const from = performance.now();
      const box = await runtime.create({ ...DOUBLE_BOX, name: "one", replace: { graceMs } });
      const ms = performance.now() - from;
      assert.deepEqual(timeouts, graceMs === 0 ? [] : [graceMs]);
      assert.deepEqual([last?.status, last?.exitCode], [code ? "stopped" : "running", code]);
      if (main === "stubborn") assert.ok(ms >= graceMs, `it was ended after ${ms} ms`);
      else assert.ok(ms < graceMs, `it took ${ms} ms`);
      assert.notEqual(box.id, old.id);
      await assert.rejects(old.info(), { code: "box_not_found" });
      assert.deepEqual((await runtime.list({ all: true })).map(({ id }) => id), [box.id]);
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
}
