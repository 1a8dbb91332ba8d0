import assert from "node:assert/strict";
import { type BoxStopOptions, definePlugin, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** What no timer waits, or what isn't a time: each would end the machine at once. */
const WRONG: readonly BoxStopOptions[] = [
  { timeoutMs: Infinity },
  { timeoutMs: DAY_MS + 1 },
  { timeoutMs: -1 },
  { timeoutMs: NaN },
  { killAfterMs: Infinity },
  { killAfterMs: 2 ** 31 },
];

Deno.test("a box that is to be stopped within no time there is goes on, and the longest there is ends it by itself", async () => {
  const home = await makeDoubleHome();
  let spoil = false;
  const spoiler = definePlugin({
    name: "spoiler",
    operations: {
      stop: { before: (input) => spoil ? { ...input, timeoutMs: 1e12 } : input },
    },
  });
  try {
    await using runtime = await Runtime.open({ home, plugins: [spoiler, engineDouble()] });
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await box.start();
    for (const options of WRONG) {
      const [[name = "", ms] = []] = Object.entries(options);
      await assert.rejects(box.stop(options), {
        code: "invalid_option",
        message: `Cannot use ${name} of ${ms} ms: it isn't from 0 to ${DAY_MS}`,
      });
      await assert.rejects(box.restart(options), { code: "invalid_option" });
    }
    spoil = true;
    await assert.rejects(box.stop(), { code: "invalid_option", message: /1000000000000 ms/ });
    spoil = false;
    await assert.rejects(
      runtime.create({ ...DOUBLE_BOX, name: "one", replace: { graceMs: Infinity } }),
      { code: "invalid_option", message: /replace\.graceMs of Infinity ms/ },
    );
    assert.equal((await box.info()).status, "running");
    await box.stop({ timeoutMs: DAY_MS, killAfterMs: DAY_MS });
    const { status, reason } = await box.info();
    assert.deepEqual([status, reason], ["stopped", null]);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
