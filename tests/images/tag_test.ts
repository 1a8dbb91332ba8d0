import assert from "node:assert/strict";
import { digestOf } from "../../src/images/digest.ts";
import type { Queries } from "../../src/plugin/contract.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { ManagedImages } from "../support/managed_images.ts";
import { rejects } from "../support/rejects.ts";

const ONE = memoryImage([someBytes(50_000, 2)]);
const TWO = memoryImage([someBytes(60_000, 3)]);
const MINE = "registry:docker.io/library/mine:1";

function serving(): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/one:1", ONE);
  return registry;
}

Deno.test("ImageManager.tag gives a name that resolves without a request, until a pull asks", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const own = `registry:${registry.host}/a/mine:1`;
  const asked = registry.requests.length;
  const tagged = await manager.tag(one.reference, own);
  assert.deepEqual(
    { ...tagged, pulledAt: "" },
    { ...one, reference: own, origin: one.reference, pulledAt: "" },
  );
  assert.equal((await store.resolve(own, { policy: "never" })).digest, one.digest);
  assert.equal((await store.resolve(own)).digest, one.digest);
  assert.equal(registry.requests.length, asked);
  // Nobody else knows the name.
  assert.equal((await store.resolve(own, { policy: "newer" })).digest, one.digest);
  await rejects(store.resolve(own, { policy: "always" }), "image_not_found", /a\/mine:1/);
  registry.addImage("a/mine:1", TWO);
  assert.equal((await store.resolve(own, { policy: "newer" })).digest, TWO.digest);
  assert.equal(images.ledger.get(own)?.origin, undefined);
  assert.deepEqual(images.events, [`+ ${own}`]);
});

Deno.test("ImageManager.tag knows where an image's layers can be had again", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const one = await images.store.pull(`${registry.host}/a/one:1`);
  const first = await images.manager.tag(one.reference, "mine:1");
  const second = await images.manager.tag("mine:1", "mine:2");
  assert.deepEqual([first.origin, second.origin], [one.reference, one.reference]);
  const back = await images.manager.tag("mine:2", one.reference);
  assert.equal(back.origin, undefined);
  await images.manager.remove(one.reference);
  const [layer = ""] = ONE.layers;
  await Deno.remove(images.store.blobs.path(layer));
  await images.store.baseDisk((await images.store.resolve("mine:2")).digest);
});

Deno.test("ImageManager.tag refuses names that say by themselves what they mean", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  for (
    const [name, problem] of [
      ["oci:/tmp/layout", /it says where the image comes from$/],
      [`mine@${one.digest}`, /it has a digest, so it means one image already$/],
      [one.digest.slice(0, 19), /it reads like a digest$/],
      ["docker.io/library/sha256:1", /it reads like a digest$/],
    ] as const
  ) {
    await rejects(manager.tag(one.reference, name), "invalid_reference", problem);
  }
  // Elsewhere it is a name as any other.
  assert.equal((await manager.tag(one.reference, "team/sha256:1")).digest, one.digest);
  assert.equal((await manager.inspect(one.digest.slice(0, 19))).digest, one.digest);
});

Deno.test("ImageManager.tag asks plugins whether an image may have the name", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  const { manager, store } = images;
  const one = await store.pull(`${registry.host}/a/one:1`);
  const questions: Queries["verify"]["question"][] = [];
  images.verify = (question) => {
    questions.push(question);
    return Promise.resolve({ ok: false, reason: "not under this name" });
  };
  await rejects(
    manager.tag(one.reference, "mine:1"),
    "image_refused",
    /mine:1: not under this name$/,
  );
  const [{ manifest, ...question } = { manifest: new Uint8Array() }] = questions;
  assert.equal(digestOf(manifest), one.digest);
  assert.deepEqual(question, {
    reference: MINE,
    digest: one.digest,
    source: one.reference,
    resolvedDigest: one.digest,
  });
  assert.equal(images.ledger.get(MINE), undefined);
  assert.deepEqual(images.events, []);
});

Deno.test("ImageStore.pull asks plugins with the digest of the index that the reference names", async () => {
  await using registry = serving();
  await using images = new ManagedImages();
  registry.addIndex("a/many:1", { amd64: ONE, arm64: TWO });
  const questions: Queries["verify"]["question"][] = [];
  images.verify = (question) => {
    questions.push(question);
    return Promise.resolve({ ok: true });
  };
  const { digest, reference } = await images.store.pull(`${registry.host}/a/many:1`);
  await images.store.resolve(reference, { policy: "newer" });
  await images.manager.tag(reference, "mine:1");
  assert.equal(digest, ONE.digest);
  const [first, ...others] = questions.map(({ resolvedDigest }) => resolvedDigest);
  assert.notEqual(first, digest);
  assert.deepEqual(others, [first, first]);
  assert.deepEqual(questions.map(({ source }) => source), [reference, reference, reference]);
});

Deno.test("ImageStore.resolve with policy newer takes the image that is here when nobody answers", async () => {
  await using images = new ManagedImages();
  const { store } = images;
  let host: string;
  {
    await using registry = serving();
    host = registry.host;
    const one = await store.pull(`${host}/a/one:1`);
    const asked = registry.requests.length;
    assert.equal((await store.resolve(one.reference, { policy: "newer" })).digest, one.digest);
    assert.equal(registry.requests.length, asked + 1, "nothing but its manifest is asked for");
    registry.addImage("a/one:1", TWO);
    assert.equal((await store.resolve(one.reference, { policy: "newer" })).digest, TWO.digest);
    registry.misbehave = () => new Response("no", { status: 403 });
    await rejects(store.resolve(one.reference, { policy: "newer" }), "registry_denied", /Cannot/);
  }
  assert.equal((await store.resolve(`${host}/a/one:1`, { policy: "newer" })).digest, TWO.digest);
  await rejects(
    store.resolve(`${host}/a/x:1`, { policy: "newer" }),
    "registry_unreachable",
    /x:1|reach/,
  );
  await rejects(
    store.resolve(`${host}/a/one:1`, { policy: "always" }),
    "registry_unreachable",
    /reach/,
  );
  // What a digest means is known, and nobody is asked.
  assert.equal((await store.resolve(ONE.digest, { policy: "always" })).digest, ONE.digest);
  await rejects(store.resolve(`sha256:${"0".repeat(64)}`), "image_not_found", /it isn't here$/);
  await rejects(
    store.pull(ONE.digest),
    "invalid_reference",
    /it is an image's digest, not its name$/,
  );
});

Deno.test("ImageManager.inspect and history tell what manifest and configuration say", async () => {
  await using registry = new FakeRegistry();
  await using images = new ManagedImages();
  const layers = [someBytes(100, 1), someBytes(200, 2), someBytes(300, 3)];
  const image = memoryImage(layers, "amd64", {
    created: "2026-01-02T03:04:05Z",
    author: "me",
    history: [
      { created_by: "ADD base", created: "2026-01-01T00:00:00Z" },
      { created_by: "ENV A=1", empty_layer: true, comment: "no layer" },
      { created_by: "RUN make", author: "you" },
    ],
  });
  registry.addImage("a/b:1", image);
  const { reference, digest } = await images.store.pull(`${registry.host}/a/b:1`);
  const details = await images.manager.inspect(reference);
  assert.deepEqual(
    [details.created, details.author, details.references, details.boxes, details.disk],
    ["2026-01-02T03:04:05Z", "me", [reference], [], null],
  );
  assert.equal(details.manifest?.["schemaVersion"], 2);
  assert.ok(image.blobs.has(details.configDigest ?? ""));
  const path = await images.store.baseDisk(digest);
  images.addBox("web", details);
  const again = await images.manager.inspect(digest);
  assert.deepEqual([again.disk?.path, again.disk?.size], [path, 600]);
  assert.deepEqual(again.boxes.map(({ name }) => name), ["web"]);

  const steps = await images.manager.history(reference);
  assert.deepEqual(
    steps.map(({ createdBy, comment, author, layer }) => [createdBy, comment, author, layer?.size]),
    [
      ["ADD base", null, null, 100],
      ["ENV A=1", "no layer", null, undefined],
      ["RUN make", null, "you", 200],
      [null, null, null, 300],
    ],
  );
  await Deno.remove(images.store.blobs.path(details.configDigest ?? ""));
  assert.equal((await images.manager.inspect(reference)).created, null);
  assert.equal((await images.manager.history(reference)).length, 3);
});
