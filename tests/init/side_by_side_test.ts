import assert from "node:assert/strict";
import { definePlugin, Runtime, type Stages } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";

/** Stages that wait for nothing of each other. */
const TOGETHER: readonly (readonly (keyof Stages)[])[] = [
  ["image", "system"],
  ["disk", "volumes", "network"],
];
/** When stages that wait for each other are given up, in `ms`. */
const LIMIT_MS = 30_000;

Deno.test("startBox runs independent stages side by side", async () => {
  const inside = new Map<string, PromiseWithResolvers<void>>();
  for (const stage of TOGETHER.flat()) inside.set(stage, Promise.withResolvers());
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("it is alone")), LIMIT_MS);
  // Each stays in its stage until the others are in theirs.
  const hooks = TOGETHER.flatMap((stages) =>
    stages.map((stage) => [stage, {
      async before() {
        inside.get(stage)?.resolve();
        const others = stages.map((other) => inside.get(other)?.promise);
        await Promise.race([Promise.all(others), late.promise]);
      },
    }])
  );
  const plugin = definePlugin({ name: "meet", stages: Object.fromEntries(hooks) });
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({ home, plugins: [plugin, engineDouble()] });
    await using box = await runtime.create(DOUBLE_BOX);
    await box.start();
    assert.equal((await box.info()).status, "running");
  } finally {
    clearTimeout(timer);
    await Deno.remove(home, { recursive: true });
  }
});
