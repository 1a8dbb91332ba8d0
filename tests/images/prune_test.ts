import assert from "node:assert/strict";
import { join } from "node:path";
import { FileLock } from "../../src/file_lock.ts";
import { digestHex } from "../../src/images/digest.ts";
import {
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { ManagedImages } from "../support/managed_images.ts";

const ONE = memoryImage([someBytes(40_000, 1)]);
const TWO = memoryImage([someBytes(60_000, 3)]);
const THREE = memoryImage([someBytes(70_000, 4)]);
const HOUR_MS = 3_600_000;

function serving(): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/one:1", ONE);
  registry.addImage("a/two:1", TWO);
  return registry;
}

function blobFiles(...images: readonly MemoryImage[]): readonly string[] {
  return images.flatMap(({ digest, blobs }) => [digest, ...blobs.keys()])
    .map((digest) => `blobs/sha256/${digestHex(digest)}`).sort();
}

/** Writes a file into the home, `ageMs` old. */
async function leave(images: ManagedImages, path: string, ageMs: number): Promise<string> {
  const whole = join(images.home, path);
  await Deno.mkdir(join(whole, ".."), { recursive: true });
  await Deno.writeFile(whole, someBytes(5000));
  const at = new Date(Date.now() - ageMs);
  await Deno.utime(whole, at, at);
  return path;
}

Deno.test("ImageManager.prune keeps images with names, and with all those with boxes alone", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const two = await store.pull(`${registry.host}/a/two:1`);
  for (const { digest } of [one, two]) await store.baseDisk(digest);
  images.addBox("web", one);
  const before = images.files();
  const nothing = { images: [], blobs: 0, disks: 0, downloads: 0, bytes: 0, busy: false };
  assert.deepEqual(await manager.prune(), nothing);
  assert.deepEqual(images.files(), before);

  const dry = await manager.prune({ all: true, dryRun: true });
  assert.deepEqual(images.files(), before);
  assert.deepEqual(manager.list().length, 2);
  assert.deepEqual(images.events, []);
  const done = await manager.prune({ all: true });
  assert.deepEqual(dry, done);
  const { bytes, ...rest } = done;
  assert.deepEqual(rest, {
    images: [{ digest: two.digest, references: [two.reference] }],
    blobs: 3,
    disks: 1,
    downloads: 0,
    busy: false,
  });
  assert.ok(bytes >= 120_000 && bytes < 200_000, `${bytes}`);
  assert.deepEqual(
    images.files().filter((path) => path.startsWith("blobs/sha256")),
    blobFiles(ONE),
  );
  assert.deepEqual(images.events, [`- ${two.reference}`]);
  assert.deepEqual(await manager.prune({ all: true }), nothing);
});

Deno.test("ImageManager.prune takes the image that a name meant before a pull", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const old = await images.store.pull(`${registry.host}/a/one:1`);
  registry.addImage("a/one:1", THREE);
  await images.store.pull(`${registry.host}/a/one:1`);
  assert.deepEqual(images.manager.list({ all: true }).map(({ digest }) => digest), [
    THREE.digest,
    old.digest,
  ]);
  const { images: pruned } = await images.manager.prune();
  assert.deepEqual(pruned, [{ digest: old.digest, references: [] }]);
  assert.deepEqual(images.events, [`- ${old.digest}`]);
  assert.equal(images.manager.list({ all: true }).length, 1);
  assert.deepEqual(
    images.files().filter((path) => path.startsWith("blobs/sha256")),
    blobFiles(THREE),
  );
});

Deno.test("ImageManager.prune takes files that nothing refers to, and leaves strange ones", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  await store.pull(`${registry.host}/a/one:1`);
  const kept = [
    ...images.files(),
    await leave(images, "blobs/sha256/not-a-digest", 2 * HOUR_MS),
    await leave(images, `blobs/partial/${"a".repeat(64)}`, HOUR_MS - 60_000),
    await leave(images, `blobs/partial/${"b".repeat(64)}`, 2 * HOUR_MS),
    await leave(images, `disks/${"c".repeat(64)}.ext4.new`, 0),
    await leave(images, `blobs/sha256/${"d".repeat(64)}`, 0),
    await leave(images, "disks/mine.ext4", 0),
  ].sort();
  using _download = FileLock.try(join(images.home, `blobs/partial/${"b".repeat(64)}.lock`));
  using _fetching = FileLock.try(join(images.home, `blobs/partial/${"d".repeat(64)}.lock`));
  using _making = FileLock.try(join(images.home, `disks/${"c".repeat(64)}.ext4.lock`));
  await leave(images, `blobs/sha256/${"1".repeat(64)}`, 0);
  await leave(images, `blobs/partial/${"2".repeat(64)}`, HOUR_MS + 60_000);
  await leave(images, "blobs/partial/load-of-a-dead-program", HOUR_MS + 60_000);
  await leave(images, `disks/${"3".repeat(64)}.ext4`, 0);
  await leave(images, `disks/${"4".repeat(64)}.ext4.new`, 0);
  // Of a program that was killed between its file and its record.
  const stray = {
    reference: "registry:docker.io/library/x:1",
    digest: `sha256:${"5".repeat(64)}`,
    pulledAt: "2026-01-01T00:00:00.000Z",
  };
  await Deno.writeTextFile(
    join(images.home, `blobs/references/${await hexOf(stray.reference)}.json`),
    JSON.stringify(stray),
  );
  const { bytes, ...rest } = await manager.prune();
  assert.deepEqual(rest, { images: [], blobs: 1, disks: 2, downloads: 2, busy: false });
  assert.ok(bytes >= 25_000, `${bytes}`);
  assert.deepEqual(images.files().filter((path) => !path.endsWith(".lock")), kept);
  assert.deepEqual(images.events, []);
});

Deno.test("ImageManager.prune takes no disk that a pull makes before its image is recorded", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  await using other = new ManagedImages(images.home);
  const { promise: building, resolve: built } = Promise.withResolvers<void>();
  const { promise: going, resolve: go } = Promise.withResolvers<void>();
  const { build } = other;
  other.build = async (request) => {
    await build(request);
    built();
    await going;
  };
  const pulling = other.store.pull(`${registry.host}/a/one:1`, { disk: true });
  await building;
  assert.equal((await images.manager.prune({ all: true })).bytes, 0);
  // And when it is made, until the image is recorded.
  const put = other.ledger.put.bind(other.ledger);
  other.ledger.put = async (record) => {
    assert.equal((await images.manager.prune({ all: true })).bytes, 0);
    put(record);
  };
  go();
  const one = await pulling;
  assert.equal((await images.manager.prune()).bytes, 0);
  assert.ok(images.files().includes(`disks/${digestHex(one.digest)}.ext4`));
});

Deno.test("ImageManager.prune leaves blobs that a box may need whose image lost its record", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const two = await store.pull(`${registry.host}/a/two:1`);
  const disk = await store.baseDisk(one.digest);
  const id = images.addBox("web", one);
  images.ledger.forget(() => [{ digest: one.digest, references: [one.reference], image: true }]);
  assert.equal((await manager.remove(two.reference)).bytes, 0);
  assert.equal((await manager.prune({ all: true })).bytes, 0);
  assert.deepEqual(images.files().filter((path) => path.startsWith("blobs/sha256")).length, 6);
  await Deno.stat(disk);
  images.boxes.remove(id);
  const { blobs, disks } = await manager.prune();
  assert.deepEqual([blobs, disks, images.files()], [6, 1, []]);
});

Deno.test("ImageManager.prune refuses to judge by a damaged record", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const one = await images.store.pull(`${registry.host}/a/one:1`);
  const before = images.files();
  images.ledger.pin({ ...one, digest: TWO.digest });
  images.damage(TWO.digest);
  await assert.rejects(images.manager.prune({ all: true }), { code: "state_corrupt" });
  await assert.rejects(images.manager.remove(one.reference), { code: "state_corrupt" });
  assert.deepEqual(images.files(), before);
  assert.deepEqual(images.manager.list().length, 1);
});

async function hexOf(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(hash).toHex();
}
