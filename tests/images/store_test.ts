import assert from "node:assert/strict";
import { join } from "node:path";
import { BlobStore } from "../../src/images/blobs/blob_store.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import { readReferences, rebuildImage } from "../../src/images/reference_files.ts";
import { ImageStore } from "../../src/images/store.ts";
import { FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { rejects } from "../support/rejects.ts";
import {
  blobFiles,
  concatenate,
  IMAGE,
  LAYERS,
  serving,
  TempStore,
  unasked,
} from "../support/temp_store.ts";

Deno.test("ImageStore.pull fetches an image, records it, and tells how far it is", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const { store, onProgress, events } = temp;
  const record = await store.pull(`${registry.host}/a/b:1`, { onProgress });
  const reference = `registry:${registry.host}/a/b:1`;
  const { pulledAt, config, ...rest } = record;
  const bytes = [...IMAGE.blobs.values()].reduce((sum, blob) => sum + blob.length, 0);
  assert.deepEqual(rest, {
    reference,
    digest: IMAGE.digest,
    resolvedDigest: IMAGE.digest,
    platform: { os: "linux", architecture: "amd64" },
    layers: LAYERS.map((layer) => ({
      digest: digestOf(layer),
      size: layer.length,
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      diffId: digestOf(layer),
    })),
    size: bytes,
  });
  assert.ok(!Number.isNaN(Date.parse(pulledAt)));
  assert.deepEqual(config.cmd, ["sh"]);
  assert.deepEqual(temp.files(), blobFiles(IMAGE));
  assert.deepEqual(temp.records.get(reference), record);
  assert.deepEqual(JSON.parse(JSON.stringify(record)), record);
  assert.deepEqual(events[0], { type: "resolving", reference });
  assert.deepEqual(events[1], {
    type: "resolved",
    reference,
    digest: IMAGE.digest,
    layers: LAYERS.length,
    bytes,
  });
  assert.deepEqual(events.at(-1), { type: "done", reference, digest: IMAGE.digest });
  for (const layer of LAYERS) {
    const own = events.filter((event) => "digest" in event && event.digest === digestOf(layer));
    const total = layer.length;
    const digest = digestOf(layer);
    assert.deepEqual(own.at(0), { type: "layer", digest, done: 0, total });
    assert.deepEqual(own.slice(-3), [
      { type: "layer", digest, done: total, total },
      { type: "layer.verify", digest, done: total, total },
      { type: "layer.done", digest, total, cached: false },
    ]);
  }
});

Deno.test("ImageStore.pull asks whether an image may be used, and keeps nothing of a refused one", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const reference = `registry:${registry.host}/a/b:1`;
  temp.ask = {
    credentials: unasked,
    verify(image) {
      assert.deepEqual(
        { ...image, manifest: digestOf(image.manifest) },
        {
          reference,
          digest: IMAGE.digest,
          manifest: IMAGE.digest,
          source: reference,
          resolvedDigest: IMAGE.digest,
        },
      );
      assert.deepEqual(registry.paths, ["a/b/manifests/1"]);
      return Promise.resolve({ ok: false, reason: "nobody signed it" });
    },
  };
  const pulling = temp.store.pull(`${registry.host}/a/b:1`, { onProgress: temp.onProgress });
  await rejects(pulling, "image_refused", /^Cannot use registry:.*\/a\/b:1: nobody signed it$/);
  assert.deepEqual(registry.paths, ["a/b/manifests/1"], "it asked for more than the manifest");
  assert.deepEqual(temp.files(), []);
  assert.deepEqual(temp.records.list(), []);
  assert.deepEqual(temp.events.map(({ type }) => type), ["resolving"]);
});

Deno.test("ImageStore.pull keeps the old image when a newer one is refused", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const old = await temp.store.pull(`${registry.host}/a/b:1`);
  const before = temp.files();
  registry.addImage("a/b:1", memoryImage([someBytes(500, 9)]));
  const verdicts: string[] = [];
  temp.ask = {
    credentials: unasked,
    verify({ digest }) {
      verdicts.push(digest);
      return Promise.resolve(
        digest === old.digest ? { ok: true } : { ok: false, reason: "too new" },
      );
    },
  };
  await rejects(temp.store.pull(old.reference), "image_refused", /too new/);
  assert.deepEqual(temp.files(), before);
  assert.deepEqual(temp.records.list(), [old]);
  // What is here is used without asking; pulling it by its digest asks, and changes nothing.
  assert.equal(await temp.store.resolve(old.reference), old);
  assert.equal(verdicts.length, 1);
  await temp.store.pull(`${registry.host}/a/b@${old.digest}`);
  assert.equal(verdicts.length, 2);
  assert.deepEqual(temp.files(), before);
});

Deno.test("ImageStore.pull takes the credentials that plugins give", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const password = `Basic ${btoa("me:secret")}`;
  registry.misbehave = (request) =>
    request.headers.get("authorization") === password
      ? undefined
      : new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
  temp.ask = {
    verify: unasked,
    credentials: (host) =>
      Promise.resolve(
        host === registry.host ? { username: "me", password: "secret" } : undefined,
      ),
  };
  assert.equal((await temp.store.pull(`${registry.host}/a/b:1`)).digest, IMAGE.digest);
});

Deno.test("ImageStore.resolve makes no request for an image that is here", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const reference = `${registry.host}/a/b:1`;
  const pulled = await temp.store.resolve(reference);
  const { length } = registry.requests;
  assert.deepEqual(await temp.store.resolve(`registry:${reference}`), pulled);
  assert.deepEqual(await temp.store.resolve(reference, { policy: "never" }), pulled);
  assert.equal(registry.requests.length, length);
  await temp.store.resolve(reference, { policy: "always", onProgress: temp.onProgress });
  assert.deepEqual(registry.paths.slice(length), ["a/b/manifests/1"]);
  assert.ok(temp.events.every((event) => event.type !== "layer.done" || event.cached));
  assert.equal(temp.events.filter((event) => event.type === "layer.done").length, LAYERS.length);
});

Deno.test("ImageStore.resolve with policy never refuses an image that isn't here", async () => {
  await using temp = new TempStore();
  const resolving = temp.store.resolve("debian:12", { policy: "never" });
  await rejects(resolving, "image_not_found", /registry:docker\.io\/library\/debian:12/);
});

Deno.test("ImageStore.resolve pulls again what was recorded for another platform", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const reference = `${registry.host}/a/b:1`;
  const record = await temp.store.pull(reference);
  temp.records.put({ ...record, platform: { os: "linux", architecture: "s390x" } });
  const again = await temp.store.resolve(reference);
  assert.equal(again.platform.architecture, "amd64");
});

Deno.test("ImageStore.canonical knows schemes, and says when their source is missing", async () => {
  await using temp = new TempStore();
  assert.equal(temp.store.canonical("debian"), "registry:docker.io/library/debian:latest");
  assert.equal(temp.store.canonical("oci:/a/../b:t"), "oci:/b:t");
  assert.throws(() => temp.store.canonical("oci:"), { code: "invalid_reference" });
  const bare = new ImageStore({
    paths: { blobs: "", partial: "", disks: "" },
    records: temp.records,
    sources: new Map(),
    platform: parsePlatform("linux/amd64"),
    build: concatenate,
  });
  assert.throws(() => bare.canonical("debian"), {
    message: /no plugin brings the source registry/,
  });
});

Deno.test("ImageStore.pull refuses an image for another processor", async () => {
  await using registry = serving(memoryImage([someBytes(5)], "s390x"));
  await using temp = new TempStore();
  const pulling = temp.store.pull(`${registry.host}/a/b:1`);
  await rejects(pulling, "platform_unsupported", /it is for linux\/s390x/);
  assert.deepEqual(temp.files(), []);
});

Deno.test("ImageStore.pull refuses a manifest that gives one blob two sizes", async () => {
  await using registry = new FakeRegistry();
  await using temp = new TempStore();
  const text = new TextDecoder().decode(memoryImage([someBytes(5), someBytes(5)]).manifest);
  const bytes = new TextEncoder().encode(text.replace('"size":5', '"size":6'));
  registry.addManifest("a:1", bytes, "application/vnd.oci.image.manifest.v1+json");
  await rejects(temp.store.pull(`${registry.host}/a:1`), "invalid_image", /two sizes/);
});

Deno.test("ImageStore.pull leaves what its record can be rebuilt from", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const one = await temp.store.pull(`${registry.host}/a/b:1`);
  const two = await temp.store.pull(`${registry.host}/a/b@${one.digest}`);
  const blobs = join(temp.home, "blobs", "sha256");
  const unreadable: string[] = [];
  await Deno.writeTextFile(join(blobs, "../references/x.json"), '{"reference":1}');
  const meanings = await readReferences(blobs, (path, why) => unreadable.push(`${path}: ${why}`));
  assert.deepEqual(unreadable, [
    `${join(temp.home, "blobs/references/x.json")}: it says of no reference what it means`,
  ]);
  const store = new BlobStore({ blobs, partial: join(temp.home, "blobs", "partial") });
  const rebuilt = await Promise.all(meanings.map((each) => rebuildImage(store, each)));
  assert.deepEqual(rebuilt, temp.records.list());
  assert.deepEqual(
    rebuilt.map(({ reference }) => reference).sort(),
    [one, two].map((
      { reference },
    ) => reference).sort(),
  );
  await Deno.writeTextFile(store.path(one.digest), "{}");
  await rejects(rebuildImage(store, one), "digest_mismatch", /was changed/);
});
