import assert from "node:assert/strict";
import { join } from "node:path";
import { BlobUse } from "../../src/images/blobs/blob_use.ts";
import { digestHex } from "../../src/images/digest.ts";
import { readReferences } from "../../src/images/reference_files.ts";
import {
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { ManagedImages } from "../support/managed_images.ts";
import { rejects } from "../support/rejects.ts";

const SHARED = someBytes(40_000, 1);
const ONE = memoryImage([SHARED, someBytes(50_000, 2)]);
const TWO = memoryImage([SHARED, someBytes(60_000, 3)]);
const FOREVER = new AbortController().signal;

function serving(): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/one:1", ONE);
  registry.addImage("a/two:1", TWO);
  return registry;
}

function blobFiles(...images: readonly MemoryImage[]): readonly string[] {
  const digests = images.flatMap(({ digest, blobs }) => [digest, ...blobs.keys()]);
  return [...new Set(digests)].map((digest) => `blobs/sha256/${digestHex(digest)}`).sort();
}

function blobsOf(images: ManagedImages): readonly string[] {
  return images.files().filter((path) => path.startsWith("blobs/sha256/"));
}

/** What the image's files take, those of references aside, in bytes. */
function allocated(images: ManagedImages): number {
  return images.files().filter((path) => !path.startsWith("blobs/references/"))
    .reduce((sum, path) => sum + (Deno.lstatSync(join(images.home, path)).blocks ?? 0) * 512, 0);
}

Deno.test("ImageManager.remove takes an image with all that nothing else needs", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store, home } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const two = await store.pull(`${registry.host}/a/two:1`);
  const disk = await store.baseDisk(one.digest);
  const before = allocated(images);
  const removed = await manager.remove(`${registry.host}/a/one:1`);
  const { bytes, ...rest } = removed;
  assert.deepEqual(rest, {
    digest: one.digest,
    references: [one.reference],
    removed: true,
    kept: null,
  });
  assert.equal(before - allocated(images), bytes);
  assert.deepEqual(blobsOf(images), blobFiles(TWO));
  await assert.rejects(Deno.stat(disk), Deno.errors.NotFound);
  assert.deepEqual(manager.list().map(({ reference }) => reference), [two.reference]);
  assert.equal(images.ledger.getByDigest(one.digest), undefined);
  assert.deepEqual(images.events, [`- ${one.reference}`]);
  const meanings = await readReferences(join(home, "blobs/sha256"), (path) => assert.fail(path));
  assert.deepEqual(meanings.map(({ reference }) => reference), [two.reference]);
  await rejects(manager.remove(one.reference), "image_not_found", /a\/one:1: it isn't here$/);
});

Deno.test("ImageManager.remove refuses the last name of an image that boxes use, and names them", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const id = images.addBox("web", one);
  const before = images.files();
  await rejects(manager.remove(one.reference), "image_in_use", /a\/one:1: box "web" uses it$/);
  await assert.rejects(manager.remove(one.reference), { hint: /^remove it first, or / });
  images.addBox("db", one);
  await rejects(manager.remove(one.digest), "image_in_use", /boxes "db", "web" use it$/);
  await assert.rejects(manager.remove(one.reference), { hint: /^remove them first, or / });
  assert.deepEqual(images.files(), before);
  assert.deepEqual(images.events, []);

  // Another name is nothing that boxes need.
  const other = await manager.tag(one.reference, "other:1");
  const untagged = await manager.remove("other:1");
  assert.deepEqual([untagged.references, untagged.removed], [[other.reference], false]);
  assert.deepEqual(images.files(), before);

  for (const { config } of images.boxes.list()) images.boxes.remove(config.id);
  assert.equal(images.boxes.byId(id), undefined);
  assert.equal((await manager.remove(one.reference)).removed, true);
  assert.deepEqual(images.files(), []);
});

Deno.test("ImageManager.remove with force leaves boxes what they need, for prune to take later", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const disk = await store.baseDisk(one.digest);
  const id = images.addBox("web", one);
  const forced = await manager.remove(one.reference, { force: true });
  assert.deepEqual(forced, {
    digest: one.digest,
    references: [one.reference],
    removed: false,
    kept: 'box "web" uses it',
    bytes: 0,
  });
  assert.deepEqual(manager.list(), []);
  const [nameless] = manager.list({ all: true });
  assert.deepEqual([nameless?.reference, nameless?.boxes], [one.digest, 1]);
  assert.deepEqual(blobsOf(images), blobFiles(ONE));
  // A start makes its disk, and again when that got lost.
  await Deno.remove(disk);
  assert.equal(await store.baseDisk(one.digest), disk);
  // There is no name left that force could take.
  const again = manager.remove(one.digest.slice(7, 19), { force: true });
  await rejects(again, "image_in_use", /box "web" uses it$/);
  assert.equal((await manager.prune({ all: true })).bytes, 0);
  assert.equal(await store.baseDisk(one.digest), disk);

  images.boxes.remove(id);
  const { images: pruned, blobs, disks } = await manager.prune();
  assert.deepEqual(pruned, [{ digest: one.digest, references: [] }]);
  assert.deepEqual([blobs, disks], [4, 1]);
  assert.deepEqual(images.files(), []);
});

Deno.test("ImageManager.remove by digest wants force for several names", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  await manager.tag(one.digest, "b:1");
  const names = ["registry:docker.io/library/b:1", one.reference].sort();
  await rejects(manager.remove(one.digest), "image_in_use", /it has the names .*, .*$/);
  const removed = await manager.remove(one.digest.slice("sha256:".length, 20), { force: true });
  assert.deepEqual([removed.references.toSorted(), removed.removed], [names, true]);
  assert.deepEqual(images.files(), []);
});

Deno.test("ImageManager.inspect finds images by the beginning of their digest, if there is one such", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store, ledger } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  for (const digit of "12") {
    ledger.pin({ ...one, digest: `sha256:${"00ab".padEnd(63, digit)}${digit}` });
  }
  for (
    const text of [
      one.digest,
      one.digest.slice(7),
      one.digest.slice(0, 27),
      one.digest.slice(7, 27),
    ]
  ) {
    assert.equal((await manager.inspect(text)).digest, one.digest, text);
  }
  assert.match((await manager.inspect("00ab1")).digest, /:00ab1/);
  await rejects(
    manager.inspect("00ab"),
    "image_not_found",
    /"00ab" fits sha256:00ab1.*, sha256:00ab2/,
  );
  await rejects(manager.inspect("00ac"), "image_not_found", /library\/00ac:latest: it isn't here$/);
  await rejects(manager.inspect("0".repeat(64)), "image_not_found", /sha256:0+: it isn't here$/);
});

Deno.test("ImageManager.remove spares what a pull has named, and takes the rest", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  await using other = new ManagedImages(images.home);
  const two = await images.store.pull(`${registry.host}/a/two:1`);
  // The other program's pull has the shared layer already, and hangs in its own one.
  const [, layer = ""] = ONE.layers;
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const { promise: going, resolve: go } = Promise.withResolvers<void>();
  registry.misbehave = async (_, url) => {
    if (!url.pathname.endsWith(layer)) return undefined;
    ask();
    await going;
    return undefined;
  };
  const pulling = other.store.pull(`${registry.host}/a/one:1`);
  await asked;
  const removed = await images.manager.remove(two.reference);
  assert.equal(removed.removed, true);
  const [shared = ""] = ONE.layers;
  assert.ok(blobsOf(images).includes(`blobs/sha256/${digestHex(shared)}`));
  const [, own = ""] = TWO.layers;
  assert.ok(!blobsOf(images).includes(`blobs/sha256/${digestHex(own)}`));
  assert.equal((await images.manager.prune({ all: true })).bytes, 0);
  go();
  const one = await pulling;
  assert.deepEqual(blobsOf(images), blobFiles(ONE));
  assert.equal(registry.paths.filter((path) => path.endsWith(shared)).length, 1);
  await other.store.baseDisk(one.digest);
});

Deno.test("ImageManager.remove leaves the image to a program that makes a box of it", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  await using other = new ManagedImages(images.home);
  const one = await images.store.pull(`${registry.host}/a/one:1`);
  const two = await images.store.pull(`${registry.host}/a/two:1`);
  {
    using _held = await other.store.hold(one, FOREVER);
    assert.equal((await images.manager.remove(two.reference)).removed, true);
    const removed = await images.manager.remove(one.reference);
    assert.deepEqual([removed.removed, removed.references], [false, [one.reference]]);
    assert.match(removed.kept ?? "", /another program/);
    assert.equal((await images.manager.prune({ all: true })).images.length, 0);
    other.addBox("web", one);
  }
  await images.manager.prune({ all: true });
  assert.deepEqual(blobsOf(images), blobFiles(ONE));
  await other.store.baseDisk(one.digest);
  // And who comes after the removal finds nothing to hold.
  other.boxes.remove(other.boxes.byName("web")?.config.id ?? "");
  await images.manager.prune();
  assert.equal(await other.store.hold(one, FOREVER), undefined);
});

Deno.test("ImageManager.remove waits for nobody who holds all blobs: the name goes alone", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const one = await images.store.pull(`${registry.host}/a/one:1`);
  {
    using _use = await BlobUse.share(join(images.home, "blobs/sha256"), FOREVER);
    const removed = await images.manager.remove(one.reference);
    assert.deepEqual([removed.removed, removed.bytes], [false, 0]);
    assert.deepEqual((await images.manager.prune()).busy, true);
  }
  assert.deepEqual(blobsOf(images), blobFiles(ONE));
  assert.equal((await images.manager.prune()).images.length, 1);
  assert.deepEqual(images.files(), []);
});
