import assert from "node:assert/strict";
import { warmPool } from "../../plugins/warm_pool.ts";
import { builtinSource } from "../../plugins/sources/builtin.ts";
import { type Box, definePlugin, digestOf, type Runtime } from "../../mod.ts";
import { BOX, TEST_ENGINE, until, withRuntime } from "./support.ts";

const on = `on ${TEST_ENGINE}`;
/** Nothing here depends on the engine, and the lab is slow. */
const ignore = TEST_ENGINE !== "qemu";

/** The boxes that wait in the pool, once there are `size` of them that run. */
async function pooled(runtime: Runtime, size: number): Promise<string[]> {
  const all = async () =>
    (await runtime.list()).filter(({ status, config }) =>
      status === "running" && "warm_pool" in config.labels
    ).map(({ id }) => id);
  await until(
    async () => (await all()).length === size,
    async () => `the pool has ${(await all()).length} boxes`,
  );
  return await all();
}

Deno.test(
  `warmPool hands out boxes that run, and boots others in their place ${on}`,
  { ignore },
  () =>
    withRuntime(async (runtime) => {
      const waiting = await pooled(runtime, 2);
      const boxes = await Promise.all([
        runtime.create({ ...BOX, labels: { mine: "yes" } }),
        runtime.create({ ...BOX, env: {}, autoRemove: true }),
      ]);
      assert.deepEqual(boxes.map(({ id }) => id).sort(), waiting.toSorted());
      assert.deepEqual(boxes.map(({ config }) => config.labels), [{ mine: "yes" }, {}]);
      for (const box of boxes) {
        assert.equal((await box.info()).status, "running");
        assert.equal((await box.exec("echo", ["hello"])).stdout, "hello\n");
      }
      const others = await pooled(runtime, 2);
      assert.deepEqual(others.filter((id) => waiting.includes(id)), []);
      await Promise.all(boxes.map((box) => box[Symbol.asyncDispose]()));
    }, { plugins: [warmPool({ template: BOX, size: 2 })] }),
);

Deno.test(
  `warmPool hands out no box that is dead or paused, has other options or another image ${on}`,
  {
    ignore,
  },
  () => {
    let bootsFrom: Promise<void> = Promise.resolve();
    const image = "changing:busybox";
    const template = { ...BOX, image };
    let version = "1";
    const source = builtinSource().sources?.["builtin"];
    assert.ok(source);
    const changing = definePlugin({
      name: "changing",
      sources: {
        changing: {
          ...source,
          async open(request) {
            const found = await source.open(request);
            const text = new TextDecoder().decode(found.manifest);
            const manifest = { ...JSON.parse(text), annotations: { version } };
            const bytes = new TextEncoder().encode(JSON.stringify(manifest));
            return { ...found, manifest: bytes, digest: digestOf(bytes) };
          },
        },
      },
    });
    const hold = definePlugin({ name: "hold", stages: { boot: { before: () => bootsFrom } } });
    return withRuntime(async (runtime) => {
      const [first = ""] = await pooled(runtime, 1);
      const others: Box[] = [];
      for (
        const options of [{ memory: 96 }, { name: "mine" }, { env: { A: "1" } }, { user: "1" }]
      ) {
        others.push(await runtime.create({ ...template, ...options }));
      }
      others.push(await runtime.create({ ...template, autoRemove: false }));
      for (const box of others) {
        assert.notEqual(box.id, first);
        await box.remove();
      }
      assert.deepEqual(await pooled(runtime, 1), [first]);
      await (await runtime.get(first)).kill(); // it removes itself
      const [second = ""] = await pooled(runtime, 1);
      assert.notEqual(second, first);
      // No other one can boot meanwhile.
      const free = Promise.withResolvers<void>();
      bootsFrom = free.promise;
      const { pid } = await (await runtime.get(second)).info();
      assert.ok(pid);
      Deno.kill(pid, "SIGKILL");
      await until(
        async () => !await Deno.stat(`/proc/${pid}`).catch(() => undefined),
        () => Promise.resolve("its process is still there"),
      );
      const fresh = await runtime.create(template);
      assert.notEqual(fresh.id, second);
      assert.deepEqual((await fresh.info()).status, "configured");
      free.resolve();
      const [paused = ""] = await pooled(runtime, 1);
      const held = Promise.withResolvers<void>();
      bootsFrom = held.promise;
      await (await runtime.get(paused)).pause();
      assert.notEqual((await runtime.create(template)).id, paused);
      held.resolve();
      const [third] = await pooled(runtime, 1);
      const again = Promise.withResolvers<void>();
      bootsFrom = again.promise;
      version = "2";
      await runtime.images.pull(image);
      const newer = await runtime.create(template);
      assert.notEqual(newer.id, third);
      assert.notEqual(newer.config.image.digest, fresh.config.image.digest);
      again.resolve();
      await pooled(runtime, 1);
    }, { plugins: [hold, changing, warmPool({ template, retryDelayMs: 10 })] });
  },
);
