import assert from "node:assert/strict";
import { join } from "node:path";
import { type PullEvent, Runtime } from "../../mod.ts";
import { digestHex } from "../../src/images/digest.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

const LAYERS = ["one", "two"].map((name) =>
  writeTar({ path: name, data: new TextDecoder("latin1").decode(someBytes(100_000)) })
);
const IMAGE = memoryImage(LAYERS);

function serving(): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", IMAGE);
  return registry;
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

Deno.test("Runtime.images.pull tells of every step to a disk that a box can use", async () => {
  await using home = new TempFolder();
  await using registry = serving();
  await using runtime = await Runtime.open({ home: home.path });
  const pull = runtime.images.pull(`${registry.host}/a/b:1`);
  const events: PullEvent[] = [];
  for await (const event of pull) events.push(event);
  const image = await pull;
  assert.equal(image.digest, IMAGE.digest);
  const types = new Set(events.map(({ type }) => type));
  assert.deepEqual([...types], [
    "resolving",
    "resolved",
    "layer",
    "layer.verify",
    "layer.done",
    "disk",
    "disk.done",
    "done",
  ]);
  const disk = join(home.path, "disks", `${digestHex(IMAGE.digest)}.ext4`);
  assert.deepEqual(events.at(-2), {
    type: "disk.done",
    digest: IMAGE.digest,
    path: disk,
    cached: false,
  });
  assert(await exists(disk));
  const again = await Array.fromAsync(runtime.images.pull(`${registry.host}/a/b:1`));
  assert(again.every((event) => !("cached" in event) || event.cached), JSON.stringify(again));
});

Deno.test("Runtime.images.pull makes the disk of an image that is here, unless it isn't to", async () => {
  await using home = new TempFolder();
  await using registry = serving();
  await using runtime = await Runtime.open({ home: home.path });
  const reference = `${registry.host}/a/b:1`;
  const disk = join(home.path, "disks", `${digestHex(IMAGE.digest)}.ext4`);
  await runtime.images.pull(reference, { disk: false });
  assert.equal(await exists(disk), false);
  const asked = registry.requests.length;
  const events = await Array.fromAsync(runtime.images.pull(reference, { policy: "missing" }));
  assert.equal(registry.requests.length, asked);
  assert.deepEqual(events.slice(-2).map(({ type }) => type), ["disk.done", "done"]);
  assert(await exists(disk));
});

Deno.test("Runtime.images.pull ends with its runtime", async () => {
  await using home = new TempFolder();
  await using registry = serving();
  const asked = Promise.withResolvers<void>();
  const held: (() => void)[] = [];
  registry.misbehave = (_, url) => {
    if (!url.pathname.includes("/blobs/")) return undefined;
    asked.resolve();
    return new Promise((resolve) => {
      held.push(() => resolve(new Response(null, { status: 500 })));
    });
  };
  const runtime = await Runtime.open({ home: home.path });
  const pull = runtime.images.pull(`${registry.host}/a/b:1`);
  await asked.promise;
  await runtime.close();
  await assert.rejects(async () => await pull, { code: "cancelled" });
  const late = runtime.images.pull(`${registry.host}/a/b:1`);
  await assert.rejects(async () => await late, { code: "cancelled" });
  for (const answer of held) answer();
});

Deno.test("Runtime.create tells of its pull what a pull tells", async () => {
  await using home = new TempFolder();
  await using registry = serving();
  await using runtime = await Runtime.open({ home: home.path });
  const types = new Set<string>();
  const image = `${registry.host}/a/b:1`;
  await using box = await runtime.create({ image, onPull: ({ type }) => types.add(type) });
  assert.equal(box.config.image.digest, IMAGE.digest);
  for (const type of ["resolved", "layer.done", "disk.done", "done"]) assert(types.has(type), type);
});

Deno.test("Runtime.create makes the disk of an image that is here, and tells how", async () => {
  await using home = new TempFolder();
  await using registry = serving();
  await using runtime = await Runtime.open({ home: home.path });
  const image = `${registry.host}/a/b:1`;
  await runtime.images.pull(image, { disk: false });
  const types: string[] = [];
  await using box = await runtime.create({ image, onPull: ({ type }) => void types.push(type) });
  assert.equal(box.config.image.digest, IMAGE.digest);
  assert.deepEqual([...new Set(types)], ["disk", "disk.done"]);
  await using _other = await runtime.create({ image, onPull: () => assert.fail("it is there") });
});
