import assert from "node:assert/strict";
import { join } from "node:path";
import { blobResponse, FakeRegistry, memoryImage, someBytes } from "../support/fake_registry.ts";
import { openImage, readBlob, rejectsWith } from "../support/registry_source.ts";
import { TempFolder } from "../support/temp.ts";
import { TestAuthority } from "../support/tls.ts";
import { needs } from "../support/tools.ts";

const LAYER = someBytes(3000);
const IMAGE = memoryImage([LAYER]);
const [DIGEST = ""] = IMAGE.layers;
const openssl = needs("openssl");

/** Serves over TLS with a certificate of the authority. */
async function servingTls(authority: TestAuthority): Promise<FakeRegistry> {
  const { cert, key } = authority.server;
  const registry = new FakeRegistry({
    cert: await Deno.readTextFile(cert),
    key: await Deno.readTextFile(key),
  });
  registry.addImage("a/b:1", IMAGE);
  return registry;
}

Deno.test(
  `registrySource never goes from TLS to plain HTTP, whoever sends it there${openssl.note}`,
  openssl,
  async () => {
    await using authority = await TestAuthority.create();
    await using registry = await servingTls(authority);
    await using plain = new FakeRegistry();
    plain.addImage("a/b:1", IMAGE);
    const open = () =>
      openImage(`${registry.host}/a/b:1`, {
        as: () => ({ username: "me", password: "s3cr3t-word" }),
        registries: { [registry.host]: { ca: [authority.ca] } },
      });
    registry.misbehave = (_request, url) =>
      Response.redirect(`http://${plain.host}${url.pathname}`);
    await rejectsWith(open(), "registry_failed", /redirects to what isn't a safe address/);
    const challenge = `Bearer realm="http://${plain.host}/token"`;
    registry.misbehave = () =>
      new Response(null, { status: 401, headers: { "www-authenticate": challenge } });
    await rejectsWith(open(), "registry_failed", /names no safe token server/);
    assert.deepEqual(plain.paths, []);
  },
);

Deno.test(
  `registrySource trusts a registry's authority where the registry sends it${openssl.note}`,
  openssl,
  async () => {
    await using authority = await TestAuthority.create();
    await using registry = await servingTls(authority);
    await using storage = await servingTls(authority);
    storage.misbehave = (request) => blobResponse(LAYER, request);
    registry.misbehave = (_request, url) =>
      url.pathname.includes("/blobs/")
        ? Response.redirect(`https://${storage.host}/stored`, 307)
        : undefined;
    await using image = await openImage(`${registry.host}/a/b:1`, {
      registries: { [registry.host]: { ca: [authority.ca] } },
    });
    assert.deepEqual((await readBlob(image, DIGEST)).bytes, LAYER);
    assert.deepEqual(storage.requests.map(({ path }) => path), ["/stored"]);
  },
);

Deno.test(
  `registrySource speaks TLS with mirrors by what is said of them alone${openssl.note}`,
  openssl,
  async () => {
    await using authority = await TestAuthority.create();
    await using registry = new FakeRegistry();
    registry.addImage("a/b:1", IMAGE);
    await using mirror = await servingTls(authority);
    const settings = { mirrors: [mirror.host] };
    {
      await using _image = await openImage(`${registry.host}/a/b:1`, {
        registries: { [registry.host]: settings, [mirror.host]: { ca: [authority.ca] } },
      });
      assert.ok(mirror.paths.length > 0);
      assert.deepEqual(registry.paths, []);
    }
    const before = mirror.paths.length;
    await using _image = await openImage(`${registry.host}/a/b:1`, {
      registries: { [registry.host]: settings, [mirror.host]: { insecure: false } },
    });
    assert.equal(mirror.paths.length, before);
    assert.ok(registry.paths.length > 0);
  },
);

Deno.test("registrySource says that a registry doesn't speak TLS, and how to do without", async () => {
  await using registry = new FakeRegistry();
  const { host } = registry;
  const opening = openImage(`${host}/a/b:1`, { registries: { [host]: { insecure: false } } });
  await assert.rejects(opening, {
    code: "registry_unreachable",
    message: `Cannot reach ${host}: it doesn't speak TLS`,
    hint: `if it is to be trusted without: --insecure-registry ${host}`,
  });
});

Deno.test("registrySource names the certificate file that it can't use", async () => {
  await using folder = new TempFolder();
  const at = (name: string) => join(folder.path, name);
  await Deno.writeTextFile(at("text"), "s3cr3t-word");
  await Deno.writeTextFile(at("bad"), "-----BEGIN CERTIFICATE-----\ns3cr3t-word\n-----END");
  await Deno.mkdir(at("folder"));
  const problems: readonly (readonly [string, RegExp])[] = [
    ["none", /with .*none: it isn't there$/],
    ["text", /with .*text: it has no PEM block$/],
    ["folder", /with .*folder: /],
    ["bad", /Cannot speak to r\.test: its certificates can't be used|UnknownIssuer|Cannot reach/],
  ];
  for (const [name, problem] of problems) {
    const registries = { "r.test": { ca: [at(name)] } };
    await assert.rejects(openImage("r.test/a", { registries }), (error) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, problem);
      assert.doesNotMatch(Deno.inspect(error), /s3cr3t/);
      return true;
    });
  }
});
