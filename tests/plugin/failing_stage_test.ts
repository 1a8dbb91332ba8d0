import assert from "node:assert/strict";
import { definePlugin, Runtime } from "../../mod.ts";
import { BOX, STAGES } from "../crash/box.ts";
import { engineDouble } from "../doubles/engine.ts";
import { makeDoubleHome } from "../doubles/home.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";

Deno.test("A plugin that fails in any stage fails its box alone, which starts when it fails no more", async () => {
  let failing: string | undefined;
  const hooks = STAGES.map((stage) => [stage, {
    before(_input: unknown, { box }: { readonly box?: { readonly name: string } | undefined }) {
      if (box?.name === "bad" && stage === failing) throw new Error(`not in ${stage}`);
    },
  }]);
  const plugin = definePlugin({ name: "guilty", stages: Object.fromEntries(hooks) });
  const home = await makeDoubleHome();
  try {
    const ids: string[] = [];
    {
      await using runtime = await Runtime.open({ home, plugins: [plugin, engineDouble()] });
      const good = await runtime.create({ ...BOX, name: "good" });
      const bad = await runtime.create({ ...BOX, name: "bad" });
      ids.push(good.id, bad.id);
      for (failing of STAGES) {
        const [one, other] = await Promise.allSettled([good.start(), bad.start()]);
        assert.equal(one.status, "fulfilled", failing);
        assert.ok(other.status === "rejected" && other.reason instanceof Error, failing);
        const said =
          `Plugin "guilty" failed in "${failing}.before" for box "bad": not in ${failing}`;
        assert.ok(other.reason.message.includes(said), other.reason.message);
        const { status, stage, reason, pid } = await bad.info();
        assert.deepEqual([status, stage, pid], ["failed", failing, null]);
        assert.ok(reason?.includes(said), `${reason}`);
        assert.equal((await good.exec("echo", ["here"])).stdout, "here\n");
        await good.stop();
      }
      failing = undefined;
      assert.equal((await bad.exec("echo", ["again"])).stdout, "again\n");
      for (const box of [good, bad]) await box.remove({ force: true });
    }
    await assertNoBoxLeft(home, ids);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
