/**
 * Images that are disks, from wherever they come: their blob is what machines open.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DISK_TYPE, hostPlatform, HutchError, type ImageSource } from "../../mod.ts";
import { diskSource } from "../../plugins/sources/disk.ts";
import { localImage } from "../../plugins/sources/local/image.ts";
import { digestOf } from "../../src/images/digest.ts";
import { parseManifest } from "../../src/images/manifest.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import { ImageStore } from "../../src/images/store.ts";
import { DISK_TOOLS, makeExt4 } from "../support/disks.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const { ignore, note } = needs(...DISK_TOOLS);

function storeIn(home: string, sources: Readonly<Record<string, ImageSource>>): ImageStore {
  return new ImageStore({
    paths: {
      blobs: join(home, "blobs/sha256"),
      partial: join(home, "blobs/partial"),
      disks: join(home, "disks"),
    },
    records: new MemoryImageRecords(),
    sources: new Map(Object.entries(sources)),
    platform: hostPlatform(),
    build: () => Promise.reject(new Error("a disk is made of nothing")),
    retryDelayMs: 1,
  });
}

/** A source whose one image is these bytes. */
function sourceOf(bytes: Uint8Array<ArrayBuffer>): ImageSource {
  const layer = {
    mediaType: DISK_TYPE,
    digest: digestOf(bytes),
    size: bytes.length,
    stream: () => new Blob([bytes]).stream(),
  };
  const open = () => Promise.resolve(localImage(layer, { name: "it", close() {} }));
  return { canonical: (reference) => reference, open };
}

Deno.test(`ImageStore keeps a disk once, and gives it as it is${note}`, { ignore }, async () => {
  await using folder = new TempFolder();
  const raw = join(folder.path, "disk");
  await Deno.mkdir(join(folder.path, "root"));
  await makeExt4(raw, join(folder.path, "root"), { mebibytes: 32 });
  const home = join(folder.path, "home");
  const store = storeIn(home, diskSource().sources ?? {});
  const record = await store.pull(`disk:${raw}`);
  const { path, format } = await store.disk(record.digest);
  assert.equal(format, "qcow2");
  assert.equal(path, join(home, "blobs/sha256", record.layers[0]?.digest.slice(7) ?? ""));
  assert.equal(await store.diskBytes(record), 32 << 20);
  await runTool("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path);
  assert.ok(((await Deno.stat(path)).blocks ?? 0) * 512 < 8 << 20, "holes take nothing");
  assert.deepEqual([...Deno.readDirSync(home)].map(({ name }) => name), ["blobs"]);

  // What went missing is read again, as long as it is the same.
  await Deno.remove(path);
  assert.equal((await store.disk(record.digest)).path, path);
  await Deno.remove(path);
  using file = await Deno.open(raw, { write: true });
  await file.seek(1 << 20, Deno.SeekMode.Start);
  await file.write(new Uint8Array([1]));
  await assert.rejects(store.disk(record.digest), { code: "image_not_found" });
});

Deno.test(`ImageStore refuses a disk that an engine mustn't open${note}`, { ignore }, async () => {
  await using folder = new TempFolder();
  const secret = join(folder.path, "secret");
  await Deno.writeFile(secret, new Uint8Array(1 << 20));
  const trap = join(folder.path, "trap");
  await runTool("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", trap);
  const bytes = new Uint8Array(await Deno.readFile(trap));
  for (const hostile of [bytes, new Uint8Array(1 << 20), new Uint8Array(1)]) {
    const store = storeIn(join(folder.path, "home"), { test: sourceOf(hostile) });
    await assert.rejects(store.pull("test:it"), (error) => {
      assert.ok(error instanceof HutchError, String(error));
      assert.equal(error.code, "invalid_image", error.message);
      assert.match(error.message, /^Cannot use test:it: /);
      return true;
    });
    assert.deepEqual(await store.list(), []);
  }
});

Deno.test("parseManifest takes a disk as the one layer of its image alone", () => {
  const descriptor = (mediaType: string) => (
    { mediaType, digest: `sha256:${"0".repeat(64)}`, size: 1 }
  );
  const manifest = (...types: string[]) =>
    new TextEncoder().encode(JSON.stringify({
      schemaVersion: 2,
      config: descriptor("application/vnd.oci.image.config.v1+json"),
      layers: types.map(descriptor),
    }));
  parseManifest(manifest(DISK_TYPE), "it");
  for (const others of [[DISK_TYPE], ["application/vnd.oci.image.layer.v1.tar"]]) {
    assert.throws(
      () => parseManifest(manifest(DISK_TYPE, ...others), "it"),
      /other layers beside a disk/,
    );
  }
});
