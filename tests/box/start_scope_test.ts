import assert from "node:assert/strict";
import { definePlugin, type Plugin, type PluginContext, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { TempFolder } from "../support/temp.ts";

const BOX = { image: "builtin:busybox", memory: 128, disk: 64, engine: "double", name: "one" };

function open(home: TempFolder, plugin: Plugin): Promise<Runtime> {
  return Runtime.open({ home: home.path, plugins: [engineDouble({ overlay: true }), plugin] });
}

async function runTrue({ box }: PluginContext): Promise<number | undefined> {
  return (await box?.exec("true"))?.code;
}

Deno.test("Box.exec tells a hook of the box's own start that it would wait for itself", async () => {
  await using home = new TempFolder();
  const plugin = definePlugin({
    name: "early",
    stages: { boot: { before: async (_input, context) => void await runTrue(context) } },
  });
  await using runtime = await open(home, plugin);
  const box = await runtime.create(BOX);
  await assert.rejects(box.start(), {
    code: "box_state",
    message: /from within its own start: it isn't configured yet \(plugin "early", "boot.before"/,
  });
  assert.equal((await box.info()).status, "failed");
});

Deno.test("Box.exec runs commands for a hook after configure, before those of others", async () => {
  await using home = new TempFolder();
  const codes: (number | undefined)[] = [];
  const plugin = definePlugin({
    name: "provision",
    stages: {
      configure: { after: async (_output, context) => void codes.push(await runTrue(context)) },
    },
  });
  await using runtime = await open(home, plugin);
  const box = await runtime.create(BOX);
  await box.start();
  assert.deepEqual(codes, [0]);
});

Deno.test("Box.exec starts the box again for what a hook left to do after its start", async () => {
  await using home = new TempFolder();
  const gate = Promise.withResolvers<void>();
  const left: Promise<number | undefined>[] = [];
  const plugin = definePlugin({
    name: "later",
    stages: {
      configure: {
        after: (_output, context) => {
          if (left.length === 0) left.push(gate.promise.then(() => runTrue(context)));
        },
      },
    },
  });
  await using runtime = await open(home, plugin);
  const box = await runtime.create(BOX);
  await box.start();
  await box.stop();
  gate.resolve();
  assert.deepEqual(await Promise.all(left), [0]);
  assert.equal((await box.info()).status, "running");
});
