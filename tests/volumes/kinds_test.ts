import assert from "node:assert/strict";
import { join } from "node:path";
import type { VolumeAnswer, VolumeSpec } from "../../mod.ts";
import { diskVolume } from "../../plugins/volumes/disk.ts";
import { hostVolume } from "../../plugins/volumes/host.ts";
import { namedVolume } from "../../plugins/volumes/named.ts";
import { tmpfsVolume } from "../../plugins/volumes/tmpfs.ts";
import { createOverlay } from "../../src/disk/qcow2.ts";
import { askVolume, volumeContract } from "../contracts/volume.ts";
import { TempFolder } from "../support/temp.ts";

volumeContract("host", {
  plugin: hostVolume,
  specs: (folder) => Promise.resolve([`${folder}:/guest`, { host: folder, guest: "/guest" }]),
  withOptions: (text, options) => `${text}:${options}`,
});

volumeContract("tmpfs", {
  plugin: tmpfsVolume,
  specs: () =>
    Promise.resolve([
      "tmpfs:/guest:size=16m,mode=0700",
      { tmpfs: true, guest: "/guest", size: 16, mode: 0o700 },
    ]),
  withOptions: (text, options) => `${text},${options}`,
});

volumeContract("disk", {
  plugin: diskVolume,
  specs: async (folder) => {
    const disk = join(folder, "disk");
    await Deno.writeTextFile(disk, "");
    return [`disk:${disk}:/guest:format=raw`, { disk, guest: "/guest", format: "raw" }];
  },
  withOptions: (text, options) => `${text},${options}`,
});

volumeContract("named", {
  plugin: namedVolume,
  specs: () => Promise.resolve(["data:/guest", { volume: "data", guest: "/guest" }]),
  withOptions: (text, options) => `${text}:${options}`,
});

for (const spec of ["tmpfs:/a", "disk:/a", "git:/a", "data:a", "a b:/c", "./data:/a", "data"]) {
  Deno.test(`namedVolume leaves ${spec} to others`, async () => {
    assert.equal(await askVolume(namedVolume(), spec), undefined);
  });
}

for (
  const [spec, answer] of [
    ["tmpfs:/a", { tmpfs: {}, guestPath: "/a", noexec: true }],
    ["tmpfs:/a:exec", { tmpfs: {}, guestPath: "/a", noexec: false }],
    ["tmpfs:/a:size=1g,ro", {
      tmpfs: { sizeMiB: 1024 },
      guestPath: "/a",
      noexec: true,
      readOnly: true,
    }],
    ["tmpfs:/a:size=1048577", { tmpfs: { sizeMiB: 2 }, guestPath: "/a", noexec: true }],
    [{ tmpfs: true, guest: "/a", noexec: false, mode: 0 }, {
      tmpfs: { mode: 0 },
      guestPath: "/a",
      noexec: false,
    }],
  ] as readonly (readonly [VolumeSpec, VolumeAnswer])[]
) {
  Deno.test(`tmpfsVolume reads ${JSON.stringify(spec)}`, async () => {
    assert.deepEqual(await askVolume(tmpfsVolume(), spec), answer);
  });
}

for (
  const [spec, why] of [
    ["tmpfs:", /no path in the box/],
    ["tmpfs:/a:size=", /"" is not a size/],
    ["tmpfs:/a:size=50%", /"50%" is not a size/],
    ["tmpfs:/a:size=0", /is nothing/],
    ["tmpfs:/a:mode=4755", /not octal digits such as 1777/],
    ["tmpfs:/a:mode=99", /not octal digits/],
    ["tmpfs:/a:size=1m,size=2m", /says again/],
    ["tmpfs:/a:ro:b", /too many colons/],
    [{ tmpfs: "yes", guest: "/a" }, /its tmpfs is not true/],
    [{ tmpfs: true, guest: "/a", size: [] }, /neither text nor a number/],
    [{ tmpfs: true, guest: "/a", mode: "700" }, /its mode is no number/],
  ] as readonly (readonly [VolumeSpec, RegExp])[]
) {
  Deno.test(`tmpfsVolume refuses ${JSON.stringify(spec)}`, async () => {
    await assert.rejects(askVolume(tmpfsVolume(), spec), why);
  });
}

Deno.test("diskVolume takes a format from the file's name, never from what is in the file", async () => {
  await using folder = new TempFolder();
  const at = (name: string) => join(folder.path, name);
  await Deno.writeTextFile(at("a.img"), `QFI\xfb${"x".repeat(200)}`);
  const formatOf = async (spec: string) => (await askVolume(diskVolume(), spec))?.disk?.format;
  assert.equal(await formatOf(`disk:${at("a.img")}:/a`), "raw");
  assert.equal(await formatOf(`disk:${at("a.raw")}:/a:ro`), "raw");
  await assert.rejects(formatOf(`disk:${at("noname")}:/a`), /its format isn't given/);
  await assert.rejects(
    formatOf(`disk:${at("a.img")}:/a:format=vmdk`),
    /"vmdk", is neither raw nor/,
  );
});

Deno.test("diskVolume refuses qcow2 disks that need other files", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "a.qcow2");
  const backing = join(folder.path, "base");
  await Deno.writeFile(backing, new Uint8Array(2 ** 20));
  await createOverlay({ path, backingPath: backing, backingFormat: "raw", sizeBytes: 2 ** 20 });
  await assert.rejects(askVolume(diskVolume(), `disk:${path}:/a`), /has a backing file/);
  const bytes = await Deno.readFile(path);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, 0n);
  view.setUint32(16, 0);
  await Deno.writeFile(path, bytes);
  assert.deepEqual((await askVolume(diskVolume(), `disk:${path}:/a`))?.disk, {
    path,
    format: "qcow2",
  });
  view.setBigUint64(72, 4n);
  await Deno.writeFile(path, bytes);
  await assert.rejects(askVolume(diskVolume(), `disk:${path}:/a`), /keeps its data in another/);
  await Deno.writeTextFile(path, "#".repeat(200));
  await assert.rejects(askVolume(diskVolume(), `disk:${path}:/a`), /is no qcow2 disk/);
});
