import assert from "node:assert/strict";
import { Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";
import { killWhileStill } from "./quiesce_kill.ts";

Deno.test("Box.quiesce lets a box go on whose program dies meanwhile, by a process of its own", async () => {
  const home = await makeDoubleHome();
  try {
    await killWhileStill(home, { ...DOUBLE_BOX, name: "held" });
    await using runtime = await Runtime.open({ home, plugins: [engineDouble({ overlay: true })] });
    const box = await runtime.get("held");
    assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
    await box.remove({ force: true });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("Box.quiesce says how long a box stood still, and that it did", async () => {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({ home, plugins: [engineDouble({ overlay: true })] });
    const box = await runtime.create({ ...DOUBLE_BOX, name: "one" });
    await box.start();
    const { value, consistency, reason, pausedMs } = await box.quiesce(async () => {
      assert.equal((await box.info()).status, "pausing");
      return 5;
    });
    assert.deepEqual([value, consistency, reason], [5, "filesystem", null]);
    assert.ok(pausedMs > 0);
    assert.equal((await box.info()).status, "running");
    await assert.rejects(box.quiesce(() => Promise.reject(new Error("mine"))), { message: "mine" });
    assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
    await box.remove({ force: true });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
