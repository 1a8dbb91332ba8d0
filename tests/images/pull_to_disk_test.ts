import assert from "node:assert/strict";
import { join } from "node:path";
import { builtinSource } from "../../plugins/sources/builtin.ts";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { hostPlatform } from "../../src/images/platform.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import type { ImageSource } from "../../src/images/source.ts";
import { ImageStore } from "../../src/images/store.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { copyImage, IMAGE_TOOLS, LONG_PATH, makeLayeredImage } from "../support/images.ts";
import { startRegistry } from "../support/registry.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

/** A store as the runtime makes it, with the real disk builder. */
function storeIn(home: string): ImageStore {
  const plugins = [registrySource(), ociSource(), builtinSource()];
  const sources = plugins.flatMap((plugin): [string, ImageSource][] =>
    Object.entries(plugin.sources ?? {})
  );
  return new ImageStore({
    paths: {
      blobs: join(home, "blobs/sha256"),
      partial: join(home, "blobs/partial"),
      disks: join(home, "disks"),
    },
    records: new MemoryImageRecords(),
    sources: new Map(sources),
    platform: hostPlatform(),
    build: buildBaseDisk,
  });
}

function look(disk: string, command: string): Promise<string> {
  return runTool("debugfs", "-R", command, disk);
}

async function checkLayered(disk: string): Promise<void> {
  await runTool("e2fsck", "-fn", disk);
  assert.equal(await look(disk, "cat /data/a"), "changed\n");
  assert.equal(await look(disk, "cat /only-in-3"), "three\n");
  assert.equal(await look(disk, `cat /${LONG_PATH}`), "long\n");
  assert.match(await look(disk, "stat /data/suid"), /Mode: +04755[^]*User: +1000/);
  assert.match(await look(disk, "stat /data/link"), /Fast link dest: "a"/);
  assert.match(await look(disk, "stat /data/null"), /character special[^]*01:03/);
  assert.match(await look(disk, "stat /data/fifo"), /Type: FIFO/);
  assert.match(await look(disk, "ea_get /data/attr user.hutch"), /"?bytes"?/);
  const data = await look(disk, "ls /data");
  assert.doesNotMatch(data, /gone|\.wh\./);
  const opaque = await look(disk, "ls /opaque");
  assert.match(opaque, / new /);
  assert.doesNotMatch(opaque, / old |\.wh\./);
  const links = await look(disk, "stat /data/b");
  assert.match(links, /Links: 2/);
}

const tools = needs("docker-registry", "debugfs", "e2fsck", ...IMAGE_TOOLS);

Deno.test({
  name: `ImageStore makes the same disk of an image, wherever it comes from${tools.note}`,
  ignore: tools.ignore,
  async fn() {
    await using folder = new TempFolder();
    await using registry = await startRegistry();
    const layout = await makeLayeredImage(folder.path);
    const remote = `${registry.host}/t/image`;
    await copyImage(`oci:${layout}:latest`, `docker://${remote}:gzip`);
    await copyImage(`oci:${layout}:latest`, `docker://${remote}:docker`, { format: "v2s2" });
    await copyImage(`oci:${layout}:latest`, `docker://${remote}:zstd`, { compression: "zstd" });
    const references = [`oci:${layout}`, `${remote}:gzip`, `${remote}:docker`, `${remote}:zstd`];
    for (const [index, reference] of references.entries()) {
      const store = storeIn(join(folder.path, `home-${index}`));
      const { digest } = await store.resolve(reference);
      const disk = await store.baseDisk(digest);
      await checkLayered(disk);
      assert.equal(await store.baseDisk(digest), disk);
    }
  },
});

const busybox = needs("busybox", "debugfs", "e2fsck");

Deno.test({
  name: `ImageStore makes a disk of builtin:busybox${busybox.note}`,
  ignore: busybox.ignore,
  async fn() {
    await using folder = new TempFolder();
    const store = storeIn(folder.path);
    const { digest } = await store.resolve("builtin:busybox");
    const disk = await store.baseDisk(digest);
    await runTool("e2fsck", "-fn", disk);
    assert.match(await look(disk, "stat /tmp"), /Mode: +01777/);
    assert.match(await look(disk, "cat /etc/passwd"), /^root:x:0:0:/);
    const inode = async (path: string) =>
      /Inode: (\d+)/.exec(await look(disk, `stat ${path}`))?.[1];
    assert.equal(await inode("/bin/sh"), await inode("/bin/busybox"));
  },
});
