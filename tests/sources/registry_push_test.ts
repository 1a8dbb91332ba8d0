/** Bringing images to registries: Debian's, and one that misbehaves. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { memoryImage, someBytes } from "../support/fake_registry.ts";
import { ManagedImages } from "../support/managed_images.ts";
import { pushImage, startRegistry } from "../support/registry.ts";
import { TempFolder } from "../support/temp.ts";
import { TokenRegistry } from "../support/token_registry.ts";
import { needs } from "../support/tools.ts";
import { UploadRegistry } from "../support/upload_registry.ts";

const LAYERS = [someBytes(3_000_000), someBytes(40, 2)];
const IMAGE = memoryImage(LAYERS);
const real = needs("docker-registry", "skopeo");

/** A home that has pulled the image from a registry of its own. */
async function withImage(): Promise<{ images: ManagedImages; source: UploadRegistry }> {
  const source = new UploadRegistry();
  source.misbehave = () => undefined;
  source.addImage("a/b:1", IMAGE);
  const images = new ManagedImages();
  await images.store.pull(`${source.host}/a/b:1`);
  return { images, source };
}

Deno.test(`push brings to docker-registry what others pull from it${real.note}`, real, async () => {
  const { images, source } = await withImage();
  await using _images = images;
  await using _source = source;
  await using registry = await startRegistry();
  await using folder = new TempFolder();
  const to = `${registry.host}/team/app:2`;
  const pushed = await images.manager.push(`${source.host}/a/b:1`, { to });
  assert.deepEqual(pushed, {
    digest: IMAGE.digest,
    reference: `registry:${to}`,
    blobs: { there: 0, mounted: 0, sent: 3 },
  });
  const { code, stdout, stderr } = await new Deno.Command("skopeo", {
    args: ["copy", "--src-tls-verify=false", `docker://${to}`, `dir:${join(folder.path, "out")}`],
  }).output();
  assert.equal(code, 0, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
  for (const [index, digest] of IMAGE.layers.entries()) {
    const bytes = await Deno.readFile(join(folder.path, "out", digest.slice("sha256:".length)));
    assert.deepEqual(bytes, LAYERS[index]);
  }
  const again = await images.manager.push(`${source.host}/a/b:1`, { to });
  assert.deepEqual(again.blobs, { there: 3, mounted: 0, sent: 0 });
});

Deno.test(
  `push has a registry take blobs from its other repositories${real.note}`,
  real,
  async () => {
    await using registry = await startRegistry();
    await pushImage(registry, "a/b:1", IMAGE);
    await using images = new ManagedImages();
    await images.store.pull(`${registry.host}/a/b:1`);
    const to = `${registry.host}/c/d:1`;
    const { blobs } = await images.manager.push(`${registry.host}/a/b:1`, { to });
    assert.deepEqual(blobs, { there: 0, mounted: 2, sent: 1 }); // configurations aren't looked up
  },
);

Deno.test("push begins a blob anew whose upload broke off, and tells how far it is", async () => {
  const { images, source } = await withImage();
  await using _images = images;
  await using _source = source;
  await using target = new UploadRegistry();
  let broken = 0;
  target.first = async ({ method, body }) => {
    if (method !== "PATCH" || broken++ > 0) return undefined;
    await body?.cancel();
    return new Response(null, { status: 503 });
  };
  const told: string[] = [];
  const { blobs } = await images.manager.push(`${source.host}/a/b:1`, {
    to: `${target.host}/x/y:1`,
    onProgress: ({ type, digest, bytes, size, outcome }) => {
      assert.ok(bytes <= size);
      if (type === "blob.done") told.push(`${digest} ${outcome}`);
    },
  });
  assert.equal(broken, 4);
  assert.equal(blobs.sent, 3);
  assert.deepEqual(
    told.sort(),
    [...IMAGE.blobs.keys()].map((digest) => `${digest} sent`).sort(),
  );
  assert.deepEqual(new Map([...target.blobs].sort()), new Map([...IMAGE.blobs].sort()));
  assert.deepEqual(target.manifests.get("/v2/x/y/manifests/1"), IMAGE.manifest);
});

Deno.test("push asks for a token that may write, and gives it to the registry alone", async () => {
  const { images, source } = await withImage();
  await using _images = images;
  await using _source = source;
  await using other = new UploadRegistry();
  await using target = new TokenRegistry(IMAGE);
  const scopes = new Map<string, string>();
  target.issue = (_request, url) => {
    const token = `token-${scopes.size}`;
    scopes.set(token, url.searchParams.get("scope") ?? "");
    return Response.json({ token });
  };
  target.misbehave = async ({ method, headers, body }, url) => {
    await body?.cancel();
    const scope = scopes.get(headers.get("authorization")?.replace(/^Bearer /, "") ?? "");
    const wanted = `repository:x/y:${method === "HEAD" ? "pull" : "pull,push"}`;
    if (!scope?.startsWith(wanted)) {
      const challenge = `Bearer realm="http://${target.tokens.host}/token",scope="${wanted}"`;
      return new Response(null, { status: 401, headers: { "www-authenticate": challenge } });
    }
    if (method === "HEAD") return new Response(null, { status: 404 });
    if (method === "PUT") return new Response(null, { status: 201 });
    const location = `http://${other.host}/elsewhere/${url.pathname.length}`;
    return new Response(null, { status: 202, headers: { location } });
  };
  other.first = async ({ method, headers, body }, { href }) => {
    await body?.cancel();
    assert.equal(headers.get("authorization"), null);
    return new Response(null, {
      status: method === "PUT" ? 201 : 202,
      headers: { location: href },
    });
  };
  const { blobs } = await images.manager.push(`${source.host}/a/b:1`, {
    to: `${target.host}/x/y:1`,
  });
  assert.equal(blobs.sent, 3);
  assert.equal(other.requests.length, 6);
  assert.ok([...scopes.values()].includes("repository:x/y:pull,push"));
});

Deno.test("push refuses what can't be pushed, and says what is missing", async () => {
  const { images, source } = await withImage();
  await using _images = images;
  await using _source = source;
  const name = `${source.host}/a/b:1`;
  const { digest } = await images.store.resolve(name);
  await assert.rejects(images.manager.push(digest), { code: "invalid_option", message: /where/ });
  await assert.rejects(images.manager.push(digest, { to: "oci:/tmp/x" }), {
    code: "invalid_reference",
    message: /nothing can be written there/,
  });
  const [layer = ""] = IMAGE.layers;
  await Deno.remove(images.store.blobs.path(layer));
  source.misbehave = () => new Response(null, { status: 404 });
  await assert.rejects(images.manager.push(name), { code: "image_not_found" });
  await images.store.blobs.ingest(
    layer,
    LAYERS[0]?.length ?? 0,
    () => Promise.resolve({ start: 0, body: new Blob([LAYERS[0] ?? ""]).stream() }),
    { signal: AbortSignal.timeout(60_000) },
  );
  await Deno.writeFile(images.store.blobs.path(layer), someBytes(3_000_000, 9));
  await using target = new UploadRegistry();
  await assert.rejects(images.manager.push(name, { to: `${target.host}/x:1` }), {
    code: "digest_mismatch",
  });
  assert.equal(target.manifests.size, 0);
});
