import assert from "node:assert/strict";
import { join } from "node:path";
import type { ImageRecord } from "../../mod.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { FakeRegistry, memoryImage, memoryIndex, someBytes } from "../support/fake_registry.ts";
import { imageStore } from "../support/image_store.ts";
import { openImage, rejectsWith } from "../support/registry_source.ts";
import { TempFolder } from "../support/temp.ts";

const IMAGE = memoryImage([someBytes(3000)]);
const NEXT = memoryImage([someBytes(3000, 2)]);
const OTHER = memoryImage([someBytes(9)], "arm64");
const INDEX = digestOf(memoryIndex({ arm64: OTHER, amd64: IMAGE }));

/** What was asked of the registry since the last look: paths, and whether a manifest was known. */
function askedOf(registry: FakeRegistry): string[] {
  return registry.requests.splice(0).map(({ path, headers }) => {
    const known = headers.get("if-none-match");
    return path.replace("/v2/a/b/", "") + (known === null ? "" : ` unless ${known}`);
  });
}

/** A home, and a registry that has the image for two platforms. */
async function withIndex(
  test: (tools: {
    registry: FakeRegistry;
    pull: () => Promise<ImageRecord>;
    home: string;
  }) => Promise<void>,
): Promise<void> {
  await using home = new TempFolder();
  await using registry = new FakeRegistry();
  registry.addIndex("a/b:1", { arm64: OTHER, amd64: IMAGE });
  const store = imageStore(home.path);
  const pull = () => store.pull(`${registry.host}/a/b:1`);
  assert.equal((await pull()).digest, IMAGE.digest);
  askedOf(registry);
  await test({ registry, pull, home: home.path });
}

Deno.test(
  "ImageStore.pull asks one short question when nothing is new",
  () =>
    withIndex(async ({ registry, pull }) => {
      const record = await pull();
      assert.equal(record.digest, IMAGE.digest);
      assert.equal(record.resolvedDigest, INDEX);
      assert.deepEqual(askedOf(registry), [`manifests/1 unless "${INDEX}"`]);
      registry.addImage("a/b:1", IMAGE); // no index any more
      assert.equal((await pull()).resolvedDigest, IMAGE.digest);
      askedOf(registry);
      await pull();
      assert.deepEqual(askedOf(registry), [`manifests/1 unless "${IMAGE.digest}"`]);
    }),
);

Deno.test(
  "ImageStore.pull gets what is new after a question about the old",
  () =>
    withIndex(async ({ registry, pull }) => {
      registry.addImage("a/b:1", NEXT);
      assert.equal((await pull()).digest, NEXT.digest);
      const [question, ...blobs] = askedOf(registry);
      assert.equal(question, `manifests/1 unless "${INDEX}"`);
      assert.deepEqual(blobs.sort(), [...NEXT.blobs.keys()].map((each) => `blobs/${each}`).sort());
    }),
);

Deno.test(
  "ImageStore.pull asks for a manifest that went missing or was changed",
  () =>
    withIndex(async ({ registry, pull, home }) => {
      const path = join(home, "blobs/sha256", digestHex(IMAGE.digest));
      for (const spoil of [() => Deno.remove(path), () => Deno.writeTextFile(path, "{}")]) {
        await spoil();
        assert.equal((await pull()).digest, IMAGE.digest);
        assert.equal(digestOf(await Deno.readFile(path)), IMAGE.digest);
        assert.deepEqual(askedOf(registry).slice(0, 2), [
          "manifests/1",
          `manifests/${IMAGE.digest}`,
        ]);
      }
      await pull();
      assert.deepEqual(askedOf(registry), [`manifests/1 unless "${INDEX}"`]);
    }),
);

Deno.test(
  "ImageStore.pull gets layers that went missing although the manifest is the same",
  () =>
    withIndex(async ({ registry, pull, home }) => {
      const [layer = ""] = IMAGE.layers;
      await Deno.remove(join(home, "blobs/sha256", digestHex(layer)));
      await pull();
      assert.deepEqual(askedOf(registry), [`manifests/1 unless "${INDEX}"`, `blobs/${layer}`]);
    }),
);

Deno.test("registrySource takes no word for a manifest that it doesn't know", async () => {
  await using registry = new FakeRegistry();
  registry.misbehave = () => new Response(null, { status: 304 });
  await rejectsWith(openImage(`${registry.host}/a/b:1`), "registry_failed", /answers 304/);
});
