import assert from "node:assert/strict";
import { registrySource } from "../../plugins/sources/registry.ts";
import type { RegistryOptions } from "../../plugins/sources/registry.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { ImageSource, SourceImage } from "../../src/images/source.ts";
import {
  blobResponse,
  breakingResponse,
  FakeRegistry,
  type MemoryImage,
  memoryImage,
  someBytes,
} from "../support/fake_registry.ts";
import { rejects } from "../support/rejects.ts";

const LAYER = someBytes(300_000);
const IMAGE = memoryImage([LAYER]);
const FOREVER = new AbortController().signal;

function sourceOf(options: RegistryOptions = {}): ImageSource {
  const plugin = registrySource({ retryDelayMs: 1, timeoutMs: 5000, ...options });
  const source = plugin.sources?.["registry"];
  assert.ok(source);
  return source;
}

function open(
  reference: string,
  options: RegistryOptions = {},
  more: { insecure?: readonly string[]; signal?: AbortSignal; token?: string } = {},
): Promise<SourceImage> {
  return sourceOf(options).open({
    reference,
    platform: parsePlatform("linux/amd64"),
    registries: new Map((more.insecure ?? []).map((host) => [host, { insecure: true }])),
    credentials: () =>
      Promise.resolve(more.token === undefined ? undefined : { token: more.token }),
    signal: more.signal ?? FOREVER,
  });
}

async function readBlob(image: SourceImage, digest: string, offset = 0) {
  const { start, body } = await image.blob(digest, { offset, signal: FOREVER });
  return { start, bytes: new Uint8Array(await new Response(body).arrayBuffer()) };
}

function serving(image: MemoryImage = IMAGE): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", image);
  return registry;
}

Deno.test("registrySource opens an image by tag and by digest, and reads its blobs", async () => {
  await using registry = serving();
  for (const reference of ["a/b:1", `a/b@${IMAGE.digest}`, `a/b:x@${IMAGE.digest}`]) {
    await using image = await open(`${registry.host}/${reference}`);
    assert.equal(image.digest, IMAGE.digest);
    assert.deepEqual(image.manifest, IMAGE.manifest);
  }
  await using image = await open(`${registry.host}/a/b:1`);
  assert.deepEqual(await readBlob(image, digestOf(LAYER)), { start: 0, bytes: LAYER });
  assert.deepEqual(await readBlob(image, digestOf(LAYER), 1000), {
    start: 1000,
    bytes: LAYER.slice(1000),
  });
});

Deno.test("registrySource gives canonical and pinned references", () => {
  const source = sourceOf();
  assert.equal(source.canonical("debian"), "docker.io/library/debian:latest");
  assert.throws(() => source.canonical("Debian"), { code: "invalid_reference" });
  assert.equal(source.pin?.("h:1/x:2", IMAGE.digest), `h:1/x@${IMAGE.digest}`);
});

Deno.test("registrySource chooses this platform's image from an index", async () => {
  await using registry = new FakeRegistry();
  registry.addIndex("a/b:1", { arm64: memoryImage([someBytes(9)], "arm64"), amd64: IMAGE });
  await using image = await open(`${registry.host}/a/b:1`);
  assert.equal(image.digest, IMAGE.digest);
  assert.deepEqual(registry.paths, ["a/b/manifests/1", `a/b/manifests/${IMAGE.digest}`]);
});

Deno.test("registrySource says what an index without this platform has", async () => {
  await using registry = new FakeRegistry();
  registry.addIndex("a/b:1", { s390x: IMAGE });
  await rejects(open(`${registry.host}/a/b:1`), "platform_unsupported", /only linux\/s390x/);
});

Deno.test("registrySource starts over when a registry can't do ranges", async () => {
  await using registry = serving();
  registry.misbehave = (_request, url) =>
    url.pathname.includes("/blobs/") ? new Response(LAYER) : undefined;
  await using image = await open(`${registry.host}/a/b:1`);
  assert.deepEqual(await readBlob(image, digestOf(LAYER), 1000), { start: 0, bytes: LAYER });
});

Deno.test("registrySource starts over when a registry refuses a range or gives another", async () => {
  await using registry = serving();
  for (
    const answer of [
      () => new Response(null, { status: 416 }),
      () => new Response(LAYER, { status: 206, headers: { "content-range": "bytes 0-9/10" } }),
      () => new Response(LAYER, { status: 206 }),
    ]
  ) {
    registry.misbehave = (request) => request.headers.has("range") ? answer() : undefined;
    await using image = await open(`${registry.host}/a/b:1`);
    assert.deepEqual(await readBlob(image, digestOf(LAYER), 1000), { start: 0, bytes: LAYER });
  }
});

Deno.test("registrySource reports a name that isn't there", async () => {
  await using registry = serving();
  const { host } = registry;
  await rejects(open(`${host}/a/b:2`), "image_not_found", new RegExp(`${host}/a/b:2`));
  await rejects(open(`${host}/none`), "image_not_found", /doesn't have it/);
  assert.equal(registry.requests.length, 2);
});

Deno.test("registrySource names a host that can't be reached", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const host = `127.0.0.1:${listener.addr.port}`;
  listener.close();
  await rejects(
    open(`${host}/a`),
    "registry_unreachable",
    new RegExp(`Cannot reach ${host}: .*refused`),
  );
});

Deno.test("registrySource speaks HTTPS where HTTP isn't allowed", async () => {
  const options = { attempts: 1 };
  await using registry = serving();
  // A name for this machine that isn't one of the loopback names.
  const port = registry.host.split(":")[1];
  const named = `0.0.0.0:${port}`;
  await rejects(open(`${named}/a/b:1`, options), "registry_unreachable", /0\.0\.0\.0/);
  await using image = await open(`${named}/a/b:1`, options, { insecure: [named] });
  assert.equal(image.digest, IMAGE.digest);
});

Deno.test("registrySource gives up on a server that doesn't answer", async () => {
  await using registry = serving();
  const answers: (() => void)[] = [];
  registry.misbehave = () =>
    new Promise<undefined>((resolve) => answers.push(() => resolve(undefined)));
  const opening = open(`${registry.host}/a/b:1`, { timeoutMs: 30 });
  await rejects(opening, "registry_unreachable", /no answer within 30 ms/);
  assert.equal(registry.requests.length, 1);
  for (const answer of answers) answer();
});

Deno.test("registrySource breaks off a body that stalls", async () => {
  await using registry = serving();
  let end = () => {};
  registry.misbehave = (_request, url) =>
    url.pathname.includes("/blobs/")
      ? new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(LAYER.slice(0, 10));
            end = () => controller.close();
          },
        }),
      )
      : undefined;
  await using image = await open(`${registry.host}/a/b:1`, { timeoutMs: 50 });
  await rejects(readBlob(image, digestOf(LAYER)), "registry_failed", /sent nothing for 50 ms/);
  try {
    end();
  } catch { /* the server saw that nobody listens */ }
});

for (const status of [408, 429, 500, 502, 503, 504]) {
  Deno.test(`registrySource tries again after ${status}`, async () => {
    await using registry = serving();
    registry.misbehave = () =>
      registry.requests.length <= 2 ? new Response("later", { status }) : undefined;
    await using image = await open(`${registry.host}/a/b:1`);
    assert.equal(image.digest, IMAGE.digest);
    assert.equal(registry.requests.length, 3);
  });
}

Deno.test("registrySource gives up after a few times, and says what the registry said", async () => {
  await using registry = serving();
  registry.misbehave = () =>
    Response.json({ errors: [{ code: "TOOMANYREQUESTS", message: "slow\n\u001b[31mdown" }] }, {
      status: 429,
      headers: { "retry-after": "0" },
    });
  await rejects(open(`${registry.host}/a/b:1`), "registry_failed", /answers 429: slow \[31mdown$/);
  assert.equal(registry.requests.length, 4);
});

Deno.test("registrySource doesn't wait for hours when it is told to", async () => {
  await using registry = serving();
  registry.misbehave = () =>
    new Response(null, { status: 503, headers: { "retry-after": "86400" } });
  await rejects(open(`${registry.host}/a/b:1`), "registry_failed", /answers 503/);
  assert.equal(registry.requests.length, 1);
});

Deno.test("registrySource waits as long as it is told to, until cancelled", async () => {
  await using registry = serving();
  const cancel = new AbortController();
  registry.misbehave = () => {
    queueMicrotask(() => setTimeout(() => cancel.abort(), 20));
    return new Response(null, { status: 503, headers: { "retry-after": "30" } });
  };
  const opening = open(`${registry.host}/a/b:1`, {}, { signal: cancel.signal });
  await rejects(opening, "cancelled", /was cancelled/);
  assert.equal(registry.requests.length, 1);
});

Deno.test("registrySource tries again when a manifest breaks off", async () => {
  await using registry = serving();
  registry.misbehave = () =>
    registry.requests.length <= 2 ? breakingResponse(IMAGE.manifest.slice(0, 9)) : undefined;
  await using image = await open(`${registry.host}/a/b:1`);
  assert.equal(image.digest, IMAGE.digest);
  assert.equal(registry.requests.length, 3);
  registry.misbehave = () => breakingResponse(IMAGE.manifest.slice(0, 9));
  await rejects(open(`${registry.host}/a/b:1`), "registry_failed", /the connection broke/);
});

Deno.test("registrySource tries again when a connection is closed without an answer", async () => {
  await using registry = serving();
  const [host, port] = registry.host.split(":");
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const relay = async () => {
    (await listener.accept()).close();
    using connection = await listener.accept();
    using target = await Deno.connect({ hostname: host ?? "", port: Number(port) });
    await Promise.allSettled([
      connection.readable.pipeTo(target.writable),
      target.readable.pipeTo(connection.writable),
    ]);
  };
  const relayed = relay();
  // A server that closes after its answer, so that the relay ends too.
  registry.misbehave = () => new Response(IMAGE.manifest, { headers: { "connection": "close" } });
  await using image = await open(`127.0.0.1:${listener.addr.port}/a/b:1`);
  assert.equal(image.digest, IMAGE.digest);
  await relayed;
});

Deno.test("registrySource refuses answers that aren't manifests", async () => {
  await using registry = serving();
  const { host } = registry;
  const answers: readonly (readonly [() => Response, string, RegExp])[] = [
    [
      () => new Response("<html>", { headers: { "content-type": "text/html; x" } }),
      "registry_failed",
      /isn't a manifest \(text\/html\)/,
    ],
    [() => new Response(""), "registry_failed", /isn't a manifest/],
    [() => new Response("{}"), "invalid_image", /schemaVersion/],
    [
      () => new Response("{", { headers: { "content-type": "application/json" } }),
      "invalid_image",
      /isn't JSON/,
    ],
    [() => new Response(someBytes(4 * 1024 * 1024 + 1)), "registry_failed", /larger than 4194304/],
    [() => new Response(null, { status: 204 }), "registry_failed", /answers 204/],
    [() => new Response(null, { status: 400 }), "registry_failed", /answers 400/],
    [() => new Response("{}", { status: 403 }), "registry_denied", /answers 403/],
    [
      () =>
        new Response('{"schemaVersion":1}', {
          headers: { "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws" },
        }),
      "invalid_image",
      /schema 1/,
    ],
  ];
  for (const [answer, code, problem] of answers) {
    registry.misbehave = answer;
    await rejects(open(`${host}/a/b:1`), code, problem);
  }
});

Deno.test("registrySource refuses a manifest that hasn't the digest it was asked by", async () => {
  await using registry = serving();
  registry.misbehave = () => new Response(memoryImage([someBytes(3)]).manifest);
  const opening = open(`${registry.host}/a/b@${IMAGE.digest}`);
  await rejects(opening, "digest_mismatch", new RegExp(IMAGE.digest));
});

Deno.test("registrySource refuses a manifest that hasn't the digest it was announced with", async () => {
  await using registry = serving();
  registry.misbehave = () =>
    new Response(IMAGE.manifest, {
      headers: { "docker-content-digest": digestOf(someBytes(1)) },
    });
  await rejects(open(`${registry.host}/a/b:1`), "digest_mismatch", /its manifest has digest/);
});

Deno.test("registrySource reports a blob that the registry lost", async () => {
  await using registry = serving();
  await using image = await open(`${registry.host}/a/b:1`);
  const reading = readBlob(image, digestOf(someBytes(5)));
  await rejects(reading, "registry_failed", /answers 404: no such thing/);
});

Deno.test("registrySource doesn't carry its token to the host of a redirect", async () => {
  await using storage = new FakeRegistry();
  storage.misbehave = (request) => blobResponse(LAYER, request);
  await using registry = serving();
  registry.misbehave = (request, url) => {
    if (request.headers.get("authorization") !== "Bearer secret") {
      return new Response(null, { status: 401, headers: { "www-authenticate": "Bearer" } });
    }
    if (!url.pathname.includes("/blobs/")) return undefined;
    return Response.redirect(`http://${storage.host}/stored?signature=x`, 307);
  };
  await using image = await open(`${registry.host}/a/b:1`, {}, { token: "secret" });
  assert.deepEqual(await readBlob(image, digestOf(LAYER), 7), { start: 7, bytes: LAYER.slice(7) });
  assert.equal(storage.requests.length, 1);
  assert.equal(storage.requests[0]?.headers.get("authorization"), null);
  assert.equal(storage.requests[0]?.headers.get("range"), "bytes=7-");
});

Deno.test("registrySource keeps its token for a redirect on the same host", async () => {
  await using registry = serving();
  registry.misbehave = (request, url) => {
    if (request.headers.get("authorization") !== "Bearer secret") {
      return new Response(null, { status: 401, headers: { "www-authenticate": "Bearer" } });
    }
    if (url.pathname.startsWith("/elsewhere")) return new Response(LAYER);
    if (!url.pathname.includes("/blobs/")) return undefined;
    return new Response(null, { status: 302, headers: { location: "/elsewhere" } });
  };
  await using image = await open(`${registry.host}/a/b:1`, {}, { token: "secret" });
  await readBlob(image, digestOf(LAYER));
  assert.equal(registry.requests.at(-1)?.path, "/elsewhere");
  assert.equal(registry.requests.at(-1)?.headers.get("authorization"), "Bearer secret");
});

for (
  const location of [
    "file:///etc/passwd",
    "ftp://h/x",
    "http://u:p@127.0.0.1/x",
    "http://[",
    "data:,x",
  ]
) {
  Deno.test(`registrySource doesn't follow a redirect to ${location}`, async () => {
    await using registry = serving();
    registry.misbehave = () => new Response(null, { status: 302, headers: { location } });
    await rejects(open(`${registry.host}/a/b:1`), "registry_failed", /safe address/);
  });
}

Deno.test("registrySource leaves a circle of redirects", async () => {
  await using registry = serving();
  registry.misbehave = (_request, url) => Response.redirect(url, 307);
  await rejects(open(`${registry.host}/a/b:1`), "registry_failed", /more than 5 times/);
  assert.equal(registry.requests.length, 6);
});

Deno.test("registrySource ends when it is cancelled, before and while", async () => {
  await using registry = serving();
  const cancel = new AbortController();
  let answer = () => {};
  registry.misbehave = () => {
    cancel.abort();
    return new Promise<undefined>((resolve) => answer = () => resolve(undefined));
  };
  const opening = open(`${registry.host}/a/b:1`, {}, { signal: cancel.signal });
  await rejects(opening, "cancelled", /was cancelled/);
  answer();
  const again = open(`${registry.host}/a/b:1`, {}, { signal: cancel.signal });
  await rejects(again, "cancelled", /was cancelled/);
});
