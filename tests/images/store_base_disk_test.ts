import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { memoryImage, someBytes } from "../support/fake_registry.ts";
import { rejects } from "../support/rejects.ts";
import { concatenate, IMAGE, LAYERS, serving, TempStore } from "../support/temp_store.ts";

Deno.test("ImageStore.baseDisk makes a disk once, whoever asks", async () => {
  await using registry = serving();
  await using one = new TempStore();
  const { digest } = await one.store.pull(`${registry.host}/a/b:1`);
  let built = 0;
  one.build = async (request) => {
    built++;
    assert.equal(request.uuidFrom, digest);
    await concatenate(request);
  };
  const { onProgress } = one;
  const paths = await Promise.all([
    one.store.baseDisk(digest, { onProgress }),
    one.store.baseDisk(digest, { onProgress }),
    one.store.baseDisk(digest, { onProgress }),
  ]);
  const expected = join(one.home, "disks", `${digestHex(digest)}.ext4`);
  assert.deepEqual(paths, [expected, expected, expected]);
  assert.equal(built, 1);
  assert.deepEqual(await Deno.readFile(expected), concatenated(LAYERS));
  assert.deepEqual(one.files().filter((path) => path.startsWith("disks")), [
    `disks/${digestHex(digest)}.ext4`,
  ]);
  const total = LAYERS.reduce((sum, layer) => sum + layer.length, 0);
  const told = one.events.filter(({ type }) => type !== "disk.waiting");
  assert.deepEqual(told.at(-4), { type: "disk", digest, done: total, total });
  assert.deepEqual(
    told.slice(-3),
    [false, true, true].map((cached) => ({ type: "disk.done", digest, path: expected, cached })),
  );
  assert.ok(one.events.length > told.length, "those that waited didn't say so");
});

Deno.test("ImageStore.pull makes the base disk where it is asked to, before it records the image", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const reference = `${registry.host}/a/b:1`;
  const broken = new Error("no disk today");
  temp.build = () => Promise.reject(broken);
  await assert.rejects(temp.store.pull(reference, { disk: true }), broken);
  assert.deepEqual(temp.records.list(), []);
  temp.build = concatenate;
  const { digest } = await temp.store.pull(reference, { disk: true, onProgress: temp.onProgress });
  const path = join(temp.home, "disks", `${digestHex(digest)}.ext4`);
  assert.deepEqual(await Deno.readFile(path), concatenated(LAYERS));
  const total = LAYERS.reduce((sum, layer) => sum + layer.length, 0);
  const first = temp.events.find(({ type }) => type === "disk");
  assert.deepEqual(first, { type: "disk", digest, done: 0, total });
  assert.deepEqual(temp.events.slice(-3), [
    { type: "disk", digest, done: total, total },
    { type: "disk.done", digest, path, cached: false },
    { type: "done", reference: `registry:${reference}`, digest },
  ]);
  temp.build = () => assert.fail("it makes a disk that is there");
  await temp.store.pull(reference, { disk: true, onProgress: temp.onProgress });
  assert.deepEqual(temp.events.at(-2), { type: "disk.done", digest, path, cached: true });
});

Deno.test("ImageStore.baseDisk leaves nothing when it fails, and works the next time", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const { digest } = await temp.store.pull(`${registry.host}/a/b:1`);
  const before = temp.files();
  const full = Object.assign(new Error("No space left on device (os error 28)"), {
    code: "ENOSPC",
  });
  const failures: readonly (readonly [Error, object])[] = [
    [new Error("broken"), { message: "broken" }],
    [new HutchError("invalid_image", "bad layer"), { code: "invalid_image" }],
    [full, { code: "no_space" }],
  ];
  for (const [error, expected] of failures) {
    temp.build = async (request) => {
      await Deno.writeTextFile(request.output, "half");
      throw error;
    };
    await assert.rejects(temp.store.baseDisk(digest), expected);
    assert.deepEqual(temp.files(), before);
  }
  temp.build = concatenate;
  await Deno.mkdir(join(temp.home, "disks"), { recursive: true });
  await Deno.writeTextFile(join(temp.home, "disks", `${digestHex(digest)}.ext4.new`), "left-over");
  const disk = await temp.store.baseDisk(digest);
  assert.deepEqual(await Deno.readFile(disk), concatenated(LAYERS));
});

Deno.test("ImageStore.baseDisk fetches layers again that are missing or were changed", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const { digest } = await temp.store.pull(`${registry.host}/a/b:1`);
  const [first, second] = LAYERS.map((layer) =>
    join(temp.home, "blobs/sha256", digestHex(digestOf(layer)))
  );
  assert.ok(first && second);
  await Deno.remove(first);
  await Deno.writeFile(second, new Uint8Array(200_000)); // of the same size
  registry.addImage("a/b:1", memoryImage([someBytes(4)])); // the tag moved on
  const disk = await temp.store.baseDisk(digest);
  assert.deepEqual(await Deno.readFile(disk), concatenated(LAYERS));
});

Deno.test("ImageStore.baseDisk finds an image by digest after its tag moved on", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const reference = `${registry.host}/a/b:1`;
  const old = await temp.store.pull(reference);
  registry.addImage("a/b:1", memoryImage([someBytes(4)]));
  const now = await temp.store.pull(reference);
  assert.notEqual(old.digest, now.digest);
  assert.equal((await Deno.stat(await temp.store.baseDisk(old.digest))).size, 606_000);
  assert.equal((await Deno.stat(await temp.store.baseDisk(now.digest))).size, 4);
});

Deno.test("ImageStore.baseDisk refuses an image that was never pulled", async () => {
  await using temp = new TempStore();
  await rejects(temp.store.baseDisk(IMAGE.digest), "image_not_found", /isn't here/);
});

function concatenated(layers: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(layers.flatMap((layer) => [...layer]));
}
