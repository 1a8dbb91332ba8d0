import assert from "node:assert/strict";
import { warmPool } from "../../plugins/warm_pool.ts";
import { Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { TempFolder } from "../support/temp.ts";

Deno.test("warmPool waits longer each time when it can't make a box, and says why", async () => {
  await using home = new TempFolder();
  const log: string[] = [];
  const enough = Promise.withResolvers<void>();
  {
    const pool = warmPool({ template: { image: "builtin:nothing" }, retryDelayMs: 10 });
    await using _runtime = await Runtime.open({
      home: home.path,
      plugins: [pool],
      log: (line) => {
        if (log.push(line) === 3) enough.resolve();
      },
    });
    await enough.promise;
  }
  const told = log.length;
  for (const [index, line] of log.slice(0, 3).entries()) {
    const pause = 10 * 2 ** index;
    assert.ok(
      line.startsWith(`plugin "warm_pool": cannot boot a box, waiting ${pause} ms: Cannot find `),
      line,
    );
  }
  await using runtime = await Runtime.open({ home: home.path });
  assert.deepEqual(await runtime.list({ all: true }), []);
  assert.equal(log.length, told, "it went on after its runtime was closed");
});

Deno.test("warmPool leaves other boxes alone while it has nothing to hand out", async () => {
  await using home = new TempFolder();
  const template = { image: "builtin:busybox" };
  const refuse = {
    name: "refuse",
    stages: {
      layout: {
        before: () => {
          throw new Error("no boots here");
        },
      },
    },
  };
  const log: string[] = [];
  const failed = Promise.withResolvers<void>();
  await using runtime = await Runtime.open({
    home: home.path,
    plugins: [refuse, warmPool({ template, retryDelayMs: 60_000 })],
    log: (line) => {
      log.push(line);
      if (/warm_pool/.test(line)) failed.resolve();
    },
  });
  await failed.promise;
  assert.match(log.join("\n"), /cannot boot a box, waiting 60000 ms: .*no boots here/);
  assert.deepEqual(await runtime.list({ all: true }), [], "a box that can't boot is left");
  const box = await runtime.create(template);
  assert.deepEqual((await runtime.list({ all: true })).map(({ id }) => id), [box.id]);
});

Deno.test("warmPool keeps its boxes when somebody asks for labels that can't be", async () => {
  const home = await makeDoubleHome();
  try {
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble(), warmPool({ template: DOUBLE_BOX })],
    });
    let waiting: readonly string[] = [];
    while (waiting.length === 0) {
      waiting = (await runtime.list({ status: ["running"] })).map(({ id }) => id);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await assert.rejects(runtime.create({ ...DOUBLE_BOX, labels: { "hutch.x": "" } }), {
      code: "invalid_option",
    });
    assert.deepEqual([(await runtime.create(DOUBLE_BOX)).id], waiting);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("warmPool refuses a size that no pool can have", () => {
  for (const size of [0, -1, 1.5, NaN, Infinity]) {
    assert.throws(() => warmPool({ template: { image: "x" }, size }), { code: "invalid_option" });
  }
});
