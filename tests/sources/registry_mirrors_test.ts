import assert from "node:assert/strict";
import type { SourceImage } from "../../mod.ts";
import { digestOf } from "../../src/images/digest.ts";
import { BlobStore } from "../../src/images/blobs/blob_store.ts";
import {
  breakingResponse,
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  type Misbehaviour,
  someBytes,
} from "../support/fake_registry.ts";
import { openImage, type OpenOptions, readBlob, rejectsWith } from "../support/registry_source.ts";
import { TempFolder } from "../support/temp.ts";

const LAYERS = [someBytes(400_000, 1), someBytes(200_000, 2)];
const IMAGE = memoryImage(LAYERS);
const [LOWEST = "", TOP = ""] = IMAGE.layers;

function serving(path = "a/b:1", image: MemoryImage = IMAGE): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage(path, image);
  return registry;
}

/** Opens `a/b:1` of a registry that has these mirrors. */
function open(
  registry: FakeRegistry,
  mirrors: readonly string[],
  options: OpenOptions & { readonly tag?: string } = {},
): Promise<SourceImage> {
  return openImage(`${registry.host}/a/b${options.tag ?? ":1"}`, {
    ...options,
    registries: { [registry.host]: { mirrors } },
  });
}

/** Gets all blobs as a pull does: checked, and going on after breaks. */
async function ingestAll(image: SourceImage): Promise<void> {
  await using folder = new TempFolder();
  const store = new BlobStore({
    blobs: `${folder.path}/blobs`,
    partial: `${folder.path}/partial`,
    retryDelayMs: 1,
  });
  const { signal } = new AbortController();
  for (const [digest, bytes] of IMAGE.blobs) {
    await store.ingest(digest, bytes.length, (at) => image.blob(digest, at), { signal });
    assert.deepEqual(await store.read(digest), bytes);
  }
}

Deno.test("registrySource takes everything from the first mirror that has it", async () => {
  await using registry = serving();
  await using mirror = serving("proxy/cache/a/b:1");
  await using unused = serving();
  await using image = await open(registry, [`${mirror.host}/proxy/cache`, unused.host]);
  assert.equal(image.digest, IMAGE.digest);
  await ingestAll(image);
  assert.deepEqual(registry.paths, []);
  assert.deepEqual(unused.paths, []);
  assert.ok(mirror.paths.every((path) => path.startsWith("proxy/cache/a/b/")));
});

Deno.test("registrySource tells mirrors, and nobody else, whose images it wants", async () => {
  await using registry = serving();
  await using mirror = serving();
  const asked: string[] = [];
  for (const [name, each] of Object.entries({ registry, mirror })) {
    each.misbehave = (_request, url) => {
      asked.push(`${name}${url.search}`);
      return name === "mirror" && url.pathname.includes("/blobs/")
        ? new Response(null, { status: 404 })
        : undefined;
    };
  }
  await using image = await open(registry, [mirror.host]);
  await readBlob(image, TOP);
  const told = `mirror?ns=${encodeURIComponent(registry.host)}`;
  assert.deepEqual(asked, [told, told, "registry"]);
});

Deno.test("registrySource goes on to the next mirror, and to the registry, whatever fails", async () => {
  await using registry = serving();
  const answers: readonly (Misbehaviour | undefined)[] = [
    () => new Response(null, { status: 404 }),
    () => new Response(null, { status: 500 }),
    () => new Response(null, { status: 401 }),
    () => new Response("<html>"),
    () => new Response("{"),
    () => new Response(null, { status: 302, headers: { location: "file:///etc/passwd" } }),
    () => breakingResponse(IMAGE.manifest.slice(0, 9)),
    () => new Response(null, { status: 304 }),
  ];
  const mirrors = answers.map((misbehave) => {
    const mirror = new FakeRegistry();
    if (misbehave) mirror.misbehave = misbehave;
    return mirror;
  });
  await using stack = new AsyncDisposableStack();
  for (const mirror of mirrors) stack.use(mirror);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const down = `127.0.0.1:${listener.addr.port}`;
  listener.close();
  await using image = await open(registry, [down, ...mirrors.map(({ host }) => host)]);
  assert.equal(image.digest, IMAGE.digest);
  for (const mirror of mirrors) assert.ok(mirror.requests.length > 0);
  const asked = mirrors.map(({ requests }) => requests.length);
  await ingestAll(image);
  assert.deepEqual(mirrors.map(({ requests }) => requests.length), asked, "not asked for blobs");
});

Deno.test("registrySource doesn't wait long for a mirror that says nothing", async () => {
  await using registry = serving();
  await using mirror = new FakeRegistry();
  const { promise, resolve } = Promise.withResolvers<undefined>();
  mirror.misbehave = () => promise;
  await using image = await open(registry, [mirror.host], { options: { timeoutMs: 50 } });
  resolve(undefined);
  assert.equal(image.digest, IMAGE.digest);
  assert.equal(mirror.requests.length, 1);
});

Deno.test("registrySource takes a pinned image from a mirror only as it is pinned", async () => {
  await using registry = serving();
  await using mirror = serving();
  const other = memoryImage([someBytes(5)]);
  mirror.misbehave = () => new Response(other.manifest);
  await using image = await open(registry, [mirror.host], { tag: `@${IMAGE.digest}` });
  assert.equal(image.digest, IMAGE.digest);
  mirror.misbehave = () => undefined;
  registry.misbehave = () => new Response(null, { status: 404 });
  await using again = await open(registry, [mirror.host], { tag: `:x@${IMAGE.digest}` });
  assert.equal(again.digest, IMAGE.digest);
});

Deno.test("registrySource says what the registry said, and what its mirrors failed with", async () => {
  await using registry = new FakeRegistry();
  await using mirror = new FakeRegistry();
  mirror.misbehave = () => new Response(null, { status: 503 });
  const opening = open(registry, [mirror.host]);
  const problem = new RegExp(
    `^Cannot find ${registry.host}/a/b:1: ${registry.host} doesn't have it; ` +
      `before it, mirrors failed: ${mirror.host} \\(.*answers 503\\)$`,
  );
  await rejectsWith(opening, "image_not_found", problem);
});

Deno.test("registrySource goes to no mirror when it is cancelled", async () => {
  await using registry = serving();
  await using mirror = serving();
  const cancel = new AbortController();
  mirror.misbehave = () => {
    cancel.abort();
    return new Response(null, { status: 500 });
  };
  const opening = open(registry, [mirror.host], { signal: cancel.signal });
  const problem = new RegExp(`^Cannot read from ${mirror.host}: it was cancelled$`);
  await rejectsWith(opening, "cancelled", problem);
  assert.deepEqual(registry.paths, []);
});

Deno.test("registrySource gives each mirror its own credentials alone", async () => {
  await using registry = serving();
  await using mirror = serving();
  const asking: Misbehaviour = (request) =>
    request.headers.has("authorization")
      ? undefined
      : new Response(null, { status: 401, headers: { "www-authenticate": "Basic" } });
  for (const each of [registry, mirror]) each.misbehave = asking;
  const as = (host: string) =>
    host === registry.host ? { username: "registry", password: "pr" } : undefined;
  await using image = await open(registry, [mirror.host], { as });
  assert.equal(image.digest, IMAGE.digest);
  assert.ok(mirror.requests.every(({ headers }) => !headers.has("authorization")));
  const both = (host: string) => ({
    username: host === mirror.host ? "mirror" : "registry",
    password: "p",
  });
  const before = registry.requests.length;
  await using again = await open(registry, [mirror.host], { as: both });
  await ingestAll(again);
  const sent = mirror.requests.map(({ headers }) => headers.get("authorization"));
  assert.deepEqual(
    [...new Set(sent.filter((header) => header !== null))],
    [`Basic ${btoa("mirror:p")}`],
  );
  assert.equal(registry.requests.length, before);
});

/** What a mirror may do to a layer. */
const SPOILED: readonly (readonly [string, (request: Request) => Response])[] = [
  ["has lost", () => new Response(null, { status: 404 })],
  ["has changed", () => {
    return new Response(LAYERS[0]?.map((byte, index) => index === 399_999 ? byte ^ 1 : byte));
  }],
  ["has swapped", () => new Response(LAYERS[1]?.slice())],
  ["has cut", () => new Response(LAYERS[0]?.slice(0, 100_000))],
  ["has emptied", () => new Response("")],
  ["has grown", () => new Response(someBytes(500_000, 9))],
  ["breaks off", () => breakingResponse(LAYERS[0]?.slice(0, 300_000) ?? new Uint8Array())],
  ["redirects away", () => new Response(null, { status: 302, headers: { location: "/lost" } })],
  ["gives as a page", () => new Response("<html>")],
];

for (const [name, answer] of SPOILED) {
  Deno.test(`registrySource gets from the registry a layer that a mirror ${name}`, async () => {
    await using registry = serving();
    await using mirror = serving();
    mirror.misbehave = (request, url) =>
      url.pathname.endsWith(LOWEST) ? answer(request) : undefined;
    await using image = await open(registry, [mirror.host]);
    await ingestAll(image);
    assert.ok(registry.paths.length > 0);
    assert.ok(registry.paths.every((path) => path === `a/b/blobs/${LOWEST}`));
    assert.ok(mirror.paths.includes(`a/b/blobs/${TOP}`));
  });
}

Deno.test("registrySource gives the last bytes of a mirror's layer only when all are right", async () => {
  await using registry = serving();
  await using mirror = serving();
  mirror.misbehave = (_request, url) =>
    url.pathname.endsWith(LOWEST) ? new Response(someBytes(400_000, 9)) : undefined;
  await using image = await open(registry, [mirror.host]);
  await rejectsWith(readBlob(image, LOWEST), "registry_failed", /has digest sha256:/);
  // Bytes were wrong: whatever the caller has of them is of no use.
  const { start, bytes } = await readBlob(image, LOWEST, 1000);
  assert.equal(start, 0);
  assert.equal(digestOf(bytes), LOWEST);
  assert.deepEqual((await readBlob(image, LOWEST, 1000)).start, 1000);
});

Deno.test("registrySource goes on from a mirror's layer where it was, and stops when it isn't read", async () => {
  await using registry = serving();
  await using mirror = serving();
  await using image = await open(registry, [mirror.host]);
  assert.deepEqual(await readBlob(image, LOWEST, 1000), {
    start: 1000,
    bytes: LAYERS[0]?.slice(1000),
  });
  const { signal } = new AbortController();
  const { body } = await image.blob(LOWEST, { offset: 0, signal });
  await body.cancel();
  assert.deepEqual(registry.paths, []);
});

Deno.test("registrySource asks a mirror for nothing more once it can't be reached", async () => {
  await using registry = serving();
  await using mirror = serving();
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const down = `http://127.0.0.1:${listener.addr.port}/stored`;
  listener.close();
  mirror.misbehave = (_request, url) =>
    url.pathname.includes("/blobs/") ? Response.redirect(down, 307) : undefined;
  await using image = await open(registry, [mirror.host]);
  await readBlob(image, TOP);
  const asked = mirror.paths.length;
  await ingestAll(image);
  assert.equal(mirror.paths.length, asked);
});

Deno.test("registrySource leaves a mirror that went away", async () => {
  await using registry = serving();
  const mirror = serving();
  await using image = await open(registry, [mirror.host]);
  await mirror[Symbol.asyncDispose]();
  await ingestAll(image);
  assert.equal(new Set(registry.paths).size, IMAGE.blobs.size);
});
