import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { breakingResponse, memoryImage, someBytes } from "../support/fake_registry.ts";
import { rejects } from "../support/rejects.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { blobFiles, IMAGE, LAYERS, serving, TempStore } from "../support/temp_store.ts";

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
