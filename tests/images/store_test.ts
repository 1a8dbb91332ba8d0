import assert from "node:assert/strict";
import { join } from "node:path";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { FileLock } from "../../src/file_lock.ts";
import { HutchError } from "../../src/errors.ts";
import { BlobStore } from "../../src/images/blobs/blob_store.ts";
import { BlobUse } from "../../src/images/blobs/blob_use.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { PullEvent } from "../../src/images/pull/pull.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import { readReferences, rebuildImage } from "../../src/images/reference_files.ts";
import type { ImageSource } from "../../src/images/source.ts";
import type { BaseDiskRequest } from "../../src/images/base_disk/base_disks.ts";
import { ImageStore } from "../../src/images/store.ts";
import type { AskOfImages } from "../../src/images/store_options.ts";
import {
  breakingResponse,
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { copyImage, IMAGE_TOOLS, makeLayeredImage } from "../support/images.ts";
import { startRegistry } from "../support/registry.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const LAYERS = [100_000, 200_000, 300_000, 1000, 2000, 3000].map(someBytes);
const IMAGE = memoryImage(LAYERS);

/** Puts the layers behind each other: enough to see which files a disk is made from. */
async function concatenate(request: BaseDiskRequest): Promise<void> {
  let done = 0;
  for (const { path, diffId } of request.layers) {
    const bytes = await Deno.readFile(path);
    if (digestOf(bytes) !== diffId) throw new HutchError("digest_mismatch", "wrong diff ID");
    await Deno.writeFile(request.output, bytes, { append: true });
    request.onProgress?.(done += bytes.length);
  }
}

/** A store in a folder of its own, or in one that others use too. */
class TempStore implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly home: string;
  readonly records = new MemoryImageRecords();
  readonly store: ImageStore;
  readonly events: PullEvent[] = [];
  build: (request: BaseDiskRequest) => Promise<void> = concatenate;
  ask: AskOfImages = { credentials: unasked, verify: unasked };

  constructor(home?: string) {
    this.home = home ?? this.#folder.path;
    const sources = new Map<string, ImageSource>();
    for (const plugin of [registrySource({ retryDelayMs: 1 }), ociSource()]) {
      for (const [scheme, source] of Object.entries(plugin.sources ?? {})) {
        sources.set(scheme, source);
      }
    }
    this.store = new ImageStore({
      paths: {
        blobs: join(this.home, "blobs/sha256"),
        partial: join(this.home, "blobs/partial"),
        disks: join(this.home, "disks"),
      },
      records: this.records,
      sources,
      platform: parsePlatform("linux/amd64"),
      build: (request) => this.build(request),
      ask: {
        credentials: (registry, signal) => this.ask.credentials(registry, signal),
        verify: (image, signal) => this.ask.verify(image, signal),
      },
      retryDelayMs: 1,
    });
  }

  readonly onProgress = (event: PullEvent): void => void this.events.push(event);

  /** Every file in the home, such as `blobs/sha256/HEX`. */
  files(): readonly string[] {
    return ["blobs/sha256", "blobs/partial", "disks"].flatMap((folder) => {
      try {
        return [...Deno.readDirSync(join(this.home, folder))].map((f) => `${folder}/${f.name}`);
      } catch {
        return [];
      }
    }).sort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#folder[Symbol.asyncDispose]();
  }
}

function unasked(): Promise<undefined> {
  return Promise.resolve(undefined);
}

function serving(image: MemoryImage = IMAGE): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", image);
  return registry;
}

function blobFiles(image: MemoryImage): readonly string[] {
  return [image.digest, ...image.blobs.keys()].map((digest) => `blobs/sha256/${digestHex(digest)}`)
    .sort();
}

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

const BLOB_FAULTS:
  readonly (readonly [string, (bytes: Uint8Array<ArrayBuffer>) => Response, string, RegExp])[] = [
    [
      "has other bytes",
      (bytes) => new Response(bytes.map((b) => b ^ 1)),
      "digest_mismatch",
      /its bytes have/,
    ],
    ["is truncated", (bytes) => new Response(bytes.slice(0, -1)), "digest_mismatch", /ended after/],
    [
      "is longer",
      (bytes) => new Response(Uint8Array.from([...bytes, 1])),
      "digest_mismatch",
      /larger/,
    ],
  ];

for (const [name, answer, code, problem] of BLOB_FAULTS) {
  Deno.test(`ImageStore.pull leaves nothing of an image of which one layer ${name}`, async () => {
    await using registry = serving();
    await using temp = new TempStore();
    const victim = LAYERS[2] ?? new Uint8Array();
    registry.misbehave = (_request, url) =>
      url.pathname.endsWith(digestOf(victim)) ? answer(victim) : undefined;
    const reference = `${registry.host}/a/b:1`;
    await rejects(temp.store.pull(reference), code, problem);
    await rejects(
      temp.store.pull(reference),
      code,
      new RegExp(`Cannot pull registry:${reference}`),
    );
    assert.deepEqual(temp.files(), []);
    assert.deepEqual(temp.records.list(), []);
    registry.misbehave = () => undefined;
    await temp.store.pull(reference);
  });
}

const PASSING_FAULTS: readonly (readonly [string, () => Response, RegExp])[] = [
  ["isn't there", () => new Response(null, { status: 404 }), /answers 404/],
  ["always breaks", () => breakingResponse(LAYERS[2]?.slice(0, 9) ?? new Uint8Array()), /broke/],
];

for (const [name, answer, problem] of PASSING_FAULTS) {
  Deno.test(`ImageStore.pull keeps what it has of an image of which one layer ${name}`, async () => {
    await using registry = serving();
    await using temp = new TempStore();
    const victim = LAYERS[2] ?? new Uint8Array();
    registry.misbehave = (_request, url) =>
      url.pathname.endsWith(digestOf(victim)) ? answer() : undefined;
    const reference = `${registry.host}/a/b:1`;
    await rejects(temp.store.pull(reference), "registry_failed", problem);
    assert.deepEqual(temp.records.list(), []);
    const kept = temp.files();
    assert.ok(
      kept.every((path) => /^blobs\/(sha256|partial)\/[0-9a-f]{64}$/.test(path)),
      `${kept}`,
    );
    registry.misbehave = () => undefined;
    const before = registry.requests.length;
    await temp.store.pull(reference);
    const asked = registry.paths.slice(before).join();
    for (const path of kept.filter((path) => path.startsWith("blobs/sha256/"))) {
      assert.ok(!asked.includes(path.slice(-64)), `${path} was fetched again`);
    }
    assert.deepEqual(temp.files(), blobFiles(IMAGE));
  });
}

for (
  const [code, kept] of [["invalid_image", 0], ["limit_exceeded", 0], ["cancelled", 8]] as const
) {
  Deno.test(`ImageStore.pull keeps ${kept} blobs of an image whose disk ends in ${code}`, async () => {
    await using registry = serving();
    await using temp = new TempStore();
    temp.build = async ({ output }) => {
      await Deno.writeTextFile(output, "a half");
      throw new HutchError(code, "Cannot make it");
    };
    const pulling = temp.store.pull(`${registry.host}/a/b:1`, { disk: true });
    const named = /^Cannot make the disk of registry:127\.0\.0\.1:\d+\/a\/b:1: cannot make it$/;
    await rejects(pulling, code, code === "cancelled" ? /^Cannot make it$/ : named);
    assert.deepEqual(temp.files(), blobFiles(IMAGE).slice(0, kept));
    assert.deepEqual(temp.records.list(), []);
  });
}

Deno.test("ImageStore.pull replaces a configuration and a manifest that were changed", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const reference = `${registry.host}/a/b:1`;
  await temp.store.pull(reference);
  const [config = ""] = IMAGE.blobs.keys();
  for (const digest of [config, IMAGE.digest]) {
    const path = join(temp.home, "blobs/sha256", digestHex(digest));
    await Deno.writeFile(path, (await Deno.readFile(path)).reverse());
  }
  await temp.store.pull(reference);
  for (const digest of [config, IMAGE.digest]) {
    const path = join(temp.home, "blobs/sha256", digestHex(digest));
    assert.equal(digestOf(await Deno.readFile(path)), digest);
  }
});

Deno.test("ImageStore.pull that fails for good leaves blobs that another pull counts on", async () => {
  await using registry = serving();
  await using one = new TempStore();
  await using two = new TempStore(one.home);
  const [shared = new Uint8Array()] = LAYERS;
  const bad = someBytes(700, 9);
  registry.addImage("bad:1", memoryImage([shared, bad]));
  // The bad one's second layer comes when the other pull has seen the first.
  const counted = Promise.withResolvers<void>();
  const fetched = Promise.withResolvers<void>();
  const hold = Promise.withResolvers<void>();
  registry.misbehave = async (_request, url) => {
    if (url.pathname.endsWith(digestOf(bad))) {
      await counted.promise;
      return new Response(bad.toReversed());
    }
    // The good one's last layer comes when the other pull has failed.
    if (url.pathname.endsWith(IMAGE.layers[5] ?? "?")) await hold.promise;
    return undefined;
  };
  const failing = one.store.pull(`${registry.host}/bad:1`, {
    onProgress: (event) => event.type === "layer.done" && fetched.resolve(),
  });
  await fetched.promise;
  const good = two.store.pull(`${registry.host}/a/b:1`, {
    onProgress: (event) => event.type === "layer.done" && event.cached && counted.resolve(),
  });
  await rejects(failing, "digest_mismatch", /its bytes have/);
  hold.resolve();
  await good;
  // What only the bad one needs may have stayed, since the other was there.
  for (const file of blobFiles(IMAGE)) assert.ok(one.files().includes(file), file);
  assert.ok(!one.files().some((file) => file.startsWith("blobs/partial/")));
});

Deno.test("ImageStore.pull that fails for good leaves blobs of an image that came meanwhile", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const bad = someBytes(700, 9);
  const [shared = new Uint8Array()] = LAYERS;
  registry.addImage("bad:1", memoryImage([shared, someBytes(10, 5), bad]));
  const release = Promise.withResolvers<void>();
  const fetched = Promise.withResolvers<void>();
  registry.misbehave = async (_request, url) => {
    if (!url.pathname.endsWith(digestOf(bad))) return undefined;
    await release.promise;
    return new Response(bad.toReversed());
  };
  let left = 2;
  const failing = temp.store.pull(`${registry.host}/bad:1`, {
    onProgress: (event) => event.type === "layer.done" && --left === 0 && fetched.resolve(),
  });
  await fetched.promise;
  await temp.store.pull(`${registry.host}/a/b:1`);
  release.resolve();
  await rejects(failing, "digest_mismatch", /its bytes have/);
  assert.deepEqual(temp.files(), blobFiles(IMAGE));
});

Deno.test("ImageStore.pull keeps the blobs of other images when one is broken", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  await temp.store.pull(`${registry.host}/a/b:1`);
  const before = temp.files();
  const shared = LAYERS[0] ?? new Uint8Array();
  const other = memoryImage([shared, someBytes(10, 9)]);
  registry.addImage("c:1", other);
  registry.misbehave = (_request, url) =>
    url.pathname.endsWith(other.layers[1] ?? "") ? new Response("wrong") : undefined;
  await rejects(temp.store.pull(`${registry.host}/c:1`), "digest_mismatch", /ended after/);
  assert.deepEqual(temp.files(), before);
});

Deno.test("ImageStore.pull goes on after broken connections, with one request per piece", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const ranges: (string | null)[] = [];
  const victim = LAYERS[2] ?? new Uint8Array();
  registry.misbehave = (request, url) => {
    if (!url.pathname.endsWith(digestOf(victim))) return undefined;
    ranges.push(request.headers.get("range"));
    return ranges.length === 1 ? breakingResponse(victim.slice(0, 123_456)) : undefined;
  };
  await temp.store.pull(`${registry.host}/a/b:1`);
  assert.deepEqual(ranges, [null, "bytes=123456-"]);
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

Deno.test("ImageStore.pull fetches a layer once that an image has twice", async () => {
  const layer = someBytes(5000);
  const image = memoryImage([layer, someBytes(10, 2), layer]);
  await using registry = serving(image);
  await using temp = new TempStore();
  const record = await temp.store.pull(`${registry.host}/a/b:1`);
  assert.equal(record.layers.length, 3);
  assert.equal(registry.paths.filter((path) => path.endsWith(digestOf(layer))).length, 1);
  const disk = await temp.store.baseDisk(record.digest);
  assert.equal((await Deno.stat(disk)).size, 10_010);
});

Deno.test("ImageStore.pull keeps what it has when it is cancelled", async () => {
  await using registry = serving();
  await using temp = new TempStore();
  const cancel = new AbortController();
  const reference = `${registry.host}/a/b:1`;
  const pulling = temp.store.pull(reference, {
    signal: cancel.signal,
    onProgress: (event) => event.type === "layer.done" && cancel.abort(),
  });
  await rejects(pulling, "cancelled", /was cancelled/);
  assert.deepEqual(temp.records.list(), []);
  assert.ok(temp.files().some((path) => path.startsWith("blobs/sha256/")));
  assert.ok(temp.files().every((path) => !path.endsWith(".lock")));
  await temp.store.pull(reference);
  assert.deepEqual(temp.files(), blobFiles(IMAGE));
});

Deno.test("ImageStore.pull of two stores in one home fetches each blob once", async () => {
  await using registry = serving();
  await using one = new TempStore();
  await using two = new TempStore(one.home);
  const reference = `${registry.host}/a/b:1`;
  const [a, b] = await Promise.all([one.store.pull(reference), two.store.pull(reference)]);
  assert.equal(a.digest, b.digest);
  const blobs = registry.paths.filter((path) => path.includes("/blobs/"));
  assert.deepEqual(blobs.toSorted(), [...new Set(blobs)].sort());
  assert.deepEqual(one.files(), blobFiles(IMAGE));
});

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

Deno.test("ImageStore.sweep removes what died programs left, and nothing that is in use", async () => {
  await using temp = new TempStore();
  const at = (path: string) => join(temp.home, path);
  const old = new Date("2020-01-01");
  const [OLD, BUSY, FRESH] = ["0", "b", "f"].map((digit) => digit.repeat(64));
  const files = [
    "blobs/sha256/kept",
    `blobs/partial/${FRESH}`,
    `blobs/partial/${OLD}`,
    "blobs/partial/free.lock",
    "blobs/partial/load-dead",
    "blobs/partial/load-busy",
    "blobs/partial/load-busy.lock",
    `blobs/partial/${BUSY}`,
    `blobs/partial/${BUSY}.lock`,
    "disks/a.ext4",
    "disks/b.ext4.new",
    "disks/c.ext4.new",
  ];
  for (const folder of ["blobs/sha256", "blobs/partial", "disks"]) {
    await Deno.mkdir(at(folder), { recursive: true });
  }
  for (const path of files) await Deno.writeTextFile(at(path), "x");
  for (const path of ["sha256/kept", `partial/${OLD}`, `partial/${BUSY}`]) {
    await Deno.utime(at(`blobs/${path}`), old, old);
  }
  {
    using download = FileLock.try(at(`blobs/partial/${BUSY}.lock`));
    using load = FileLock.try(at("blobs/partial/load-busy.lock"));
    using disk = FileLock.try(at("disks/c.ext4.lock"));
    assert.ok(download && load && disk);
    await temp.store.sweep();
    assert.deepEqual(temp.files(), [
      `blobs/partial/${BUSY}`,
      `blobs/partial/${BUSY}.lock`,
      `blobs/partial/${FRESH}`,
      "blobs/partial/load-busy",
      "blobs/partial/load-busy.lock",
      "blobs/sha256/kept",
      "disks/a.ext4",
      "disks/c.ext4.lock",
      "disks/c.ext4.new",
    ]);
  }
  await temp.store.sweep();
  assert.deepEqual(temp.files(), [`blobs/partial/${FRESH}`, "blobs/sha256/kept", "disks/a.ext4"]);
});

Deno.test("ImageStore.sweep removes names that dead programs gave, and old halves of references", async () => {
  await using temp = new TempStore();
  const blobs = join(temp.home, "blobs/sha256");
  const references = join(temp.home, "blobs/references");
  for (const folder of [blobs, references]) await Deno.mkdir(folder, { recursive: true });
  for (const name of ["a.json", "a.json.11111111.new", "b.json.22222222.new"]) {
    await Deno.writeTextFile(join(references, name), "x");
  }
  await Deno.utime(join(references, "a.json"), 0, 0);
  await Deno.utime(join(references, "b.json.22222222.new"), 0, 0);
  const uses = join(temp.home, "blobs/uses");
  const signal = new AbortController().signal;
  using use = await BlobUse.share(blobs, signal);
  use.name(["sha256:1"]);
  const [held] = namesOf(uses);
  await Deno.writeTextFile(join(uses, "dead.json"), "[]");
  {
    using _choosing = await BlobUse.share(blobs, signal); // somebody may just name some
    await temp.store.sweep();
    assert.deepEqual(namesOf(uses), ["dead.json", held].sort());
  }
  await temp.store.sweep();
  assert.deepEqual(namesOf(uses), [held]);
  assert.deepEqual(namesOf(references), ["a.json", "a.json.11111111.new"]);
});

function namesOf(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

function concatenated(layers: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(layers.flatMap((layer) => [...layer]));
}

const mount = needs("mount", "umount");
const rootNote = Deno.uid() === 0 ? "" : " (needs root)";

Deno.test({
  name: `ImageStore.pull names the place without space, and leaves nothing${
    mount.note || rootNote
  }`,
  ignore: mount.ignore || rootNote !== "",
  async fn() {
    await using registry = serving();
    await using folder = new TempFolder();
    await runTool("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder.path);
    try {
      await using temp = new TempStore(folder.path);
      const pulling = temp.store.pull(`${registry.host}/a/b:1`);
      await rejects(pulling, "no_space", new RegExp(`no space is left in ${folder.path}`));
      assert.deepEqual(temp.files(), []);
    } finally {
      await runTool("umount", folder.path);
    }
  },
});

const registryTools = needs("docker-registry", ...IMAGE_TOOLS);

Deno.test({
  name:
    `ImageStore.pull takes every kind of image from docker-registry and from a folder${registryTools.note}`,
  ignore: registryTools.ignore,
  async fn(test) {
    await using folder = new TempFolder();
    await using registry = await startRegistry();
    const layout = await makeLayeredImage(folder.path);
    const { host } = registry;
    await copyImage(`oci:${layout}:latest`, `docker://${host}/t/oci:1`);
    await copyImage(`oci:${layout}:latest`, `docker://${host}/t/docker:1`, { format: "v2s2" });
    await copyImage(`oci:${layout}:latest`, `docker://${host}/t/zstd:1`, { compression: "zstd" });
    const zstd = join(folder.path, "zstd");
    await copyImage(`oci:${layout}:latest`, `oci:${zstd}:1`, { compression: "zstd" });
    const gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    const cases: readonly (readonly [string, string])[] = [
      [`${host}/t/oci:1`, gzip],
      [`${host}/t/docker:1`, "application/vnd.docker.image.rootfs.diff.tar.gzip"],
      [`${host}/t/zstd:1`, gzip.replace("gzip", "zstd")],
      [`oci:${layout}`, gzip],
      [`oci:${layout}:latest`, gzip],
      [`oci:${zstd}:1`, gzip.replace("gzip", "zstd")],
    ];
    const diffIds = new Set<string>();
    for (const [reference, mediaType] of cases) {
      await test.step(reference.replace(host, "HOST").replace(folder.path, "FOLDER"), async () => {
        await using temp = new TempStore();
        const record = await temp.store.pull(reference);
        assert.deepEqual(
          record.layers.map((layer) => layer.mediaType),
          [1, 2, 3].map(() => mediaType),
        );
        assert.deepEqual(record.config, {
          env: { ...record.config.env, HUTCH: "yes" },
          entrypoint: ["/bin/sh"],
          cmd: ["-c", "true"],
          workingDir: "/data",
          user: "1000:1000",
          labels: { hutch: "test" },
          exposedPorts: [],
          volumes: [],
          stopSignal: "",
        });
        diffIds.add(JSON.stringify(record.layers.map((layer) => layer.diffId)));
        const again = await temp.store.resolve(reference, { policy: "never" });
        assert.deepEqual(again, record);
      });
    }
    assert.equal(diffIds.size, 1);
    await test.step("by digest, and names that aren't there", async () => {
      await using temp = new TempStore();
      const { digest } = await temp.store.pull(`${host}/t/oci:1`);
      assert.equal((await temp.store.pull(`${host}/t/oci@${digest}`)).digest, digest);
      await rejects(temp.store.pull(`${host}/t/oci:2`), "image_not_found", /t\/oci:2/);
      await rejects(temp.store.pull(`${host}/none`), "image_not_found", /none:latest/);
    });
  },
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
