/** Against Debian's docker-registry. */
import assert from "node:assert/strict";
import type { RegistrySettings } from "../../mod.ts";
import { memoryImage, someBytes } from "../support/fake_registry.ts";
import { pushImage, startRegistry } from "../support/registry.ts";
import { openImage, readBlob, rejectsWith } from "../support/registry_source.ts";
import { TestAuthority } from "../support/tls.ts";
import { needs } from "../support/tools.ts";

const LAYER = someBytes(300_000);
const IMAGE = memoryImage([LAYER]);
const [DIGEST = ""] = IMAGE.layers;
const PASSWORD = "s3cr3t-word";
const HTPASSWD = "me:$2y$05$abcdefghijklmnopqrstuu1gnH1w3qtZX3U1O7JEI3HUJtwELxlju\n";
const BASIC = `Basic ${btoa(`me:${PASSWORD}`)}`;

const plain = needs("docker-registry");
const secure = needs("docker-registry", "openssl");

Deno.test(`registrySource reads from docker-registry as anybody${plain.note}`, plain, async () => {
  await using registry = await startRegistry();
  await pushImage(registry, "a/b:1", IMAGE);
  const reference = `${registry.host}/a/b:1`;
  await using image = await openImage(reference);
  assert.equal(image.digest, IMAGE.digest);
  assert.deepEqual(await readBlob(image, DIGEST), { start: 0, bytes: LAYER });
  assert.deepEqual(await readBlob(image, DIGEST, 1000), { start: 1000, bytes: LAYER.slice(1000) });
  const { digest, resolvedDigest = "", manifest } = image;
  const known = { digest, resolvedDigest, manifest: manifest.slice() };
  await using same = await openImage(reference, { known });
  assert.equal(same.manifest, known.manifest); // not even another copy
  const next = memoryImage([someBytes(5)]);
  await pushImage(registry, "a/b:1", next);
  await using other = await openImage(reference, { known });
  assert.equal(other.digest, next.digest);
});

Deno.test(
  `registrySource gets into a docker-registry by name and password${plain.note}`,
  plain,
  async () => {
    await using registry = await startRegistry({ htpasswd: HTPASSWD });
    await pushImage(registry, "a/b:1", IMAGE, { authorization: BASIC });
    const open = (password?: string) =>
      openImage(
        `${registry.host}/a/b:1`,
        password === undefined ? {} : { as: () => ({ username: "me", password }) },
      );
    await using image = await open(PASSWORD);
    assert.deepEqual((await readBlob(image, DIGEST)).bytes, LAYER);
    await rejectsWith(open("wr0ng"), "registry_denied", /doesn't take the credentials/, "wr0ng");
    await rejectsWith(open(), "registry_denied", /asks for credentials/);
  },
);

Deno.test(
  `registrySource trusts a docker-registry by its own authority alone${secure.note}`,
  secure,
  async () => {
    await using authority = await TestAuthority.create();
    await using registry = await startRegistry({ tls: authority.server, htpasswd: HTPASSWD });
    {
      using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(authority.ca)] });
      await pushImage(registry, "a/b:1", IMAGE, { authorization: BASIC, client });
    }
    const as = () => ({ username: "me", password: PASSWORD });
    const open = (settings: { ca?: string[]; insecure?: boolean }) =>
      openImage(`${registry.host}/a/b:1`, { as, registries: { [registry.host]: settings } });
    await using image = await open({ ca: [authority.ca] });
    assert.deepEqual((await readBlob(image, DIGEST)).bytes, LAYER);
    await rejectsWith(
      open({ insecure: false }),
      "registry_unreachable",
      /certificate: UnknownIssuer/,
    );
    await assert.rejects(open({ insecure: false }), {
      hint: `name its authority's PEM file in the configuration: registries["${registry.host}"].ca`,
    });
    // Marked as insecure it is spoken to in plain HTTP, which this one doesn't understand.
    await rejectsWith(open({ insecure: true }), "registry_failed", /answers 400/, PASSWORD);
  },
);

Deno.test(
  `registrySource shows its certificate to a docker-registry that wants one${secure.note}`,
  secure,
  async () => {
    await using authority = await TestAuthority.create();
    const { ca, client: clientCertificate } = authority;
    await using registry = await startRegistry({ tls: { ...authority.server, clientCa: ca } });
    {
      using client = Deno.createHttpClient({
        caCerts: [await Deno.readTextFile(ca)],
        cert: await Deno.readTextFile(clientCertificate.cert),
        key: await Deno.readTextFile(clientCertificate.key),
      });
      await pushImage(registry, "a/b:1", IMAGE, { client });
    }
    const open = (settings: RegistrySettings) =>
      openImage(`${registry.host}/a/b:1`, { registries: { [registry.host]: settings } });
    await using image = await open({ ca: [ca], clientCertificate });
    assert.deepEqual((await readBlob(image, DIGEST)).bytes, LAYER);
    await rejectsWith(open({ ca: [ca] }), "registry_unreachable", /Cannot reach/);
  },
);

Deno.test(
  `registrySource pulls through a docker-registry that mirrors another${plain.note}`,
  plain,
  async () => {
    await using registry = await startRegistry();
    await pushImage(registry, "a/b:1", IMAGE);
    const mirror = await startRegistry({ proxyOf: `http://${registry.host}` });
    const open = () =>
      openImage(`${registry.host}/a/b:1`, {
        registries: { [registry.host]: { mirrors: [mirror.host] } },
      });
    try {
      await using image = await open();
      assert.equal(image.digest, IMAGE.digest);
      assert.deepEqual((await readBlob(image, DIGEST)).bytes, LAYER);
      await using direct = await openImage(`${mirror.host}/a/b@${IMAGE.digest}`);
      assert.deepEqual((await readBlob(direct, DIGEST)).bytes, LAYER);
    } finally {
      await mirror[Symbol.asyncDispose]();
    }
    await using image = await open();
    assert.deepEqual((await readBlob(image, DIGEST)).bytes, LAYER);
  },
);
