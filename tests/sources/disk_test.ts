/**
 * The source `disk`: what disks of others become, and what of them is refused.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { hostPlatform, HutchError, type SourceImage } from "../../mod.ts";
import { DiskFile } from "../../plugins/sources/disk/disk_file.ts";
import { Qcow2Disk } from "../../plugins/sources/disk/qcow2.ts";
import { diskSource, type DiskSourceOptions } from "../../plugins/sources/disk.ts";
import { parseConfig } from "../../src/images/config.ts";
import { parseManifest } from "../../src/images/manifest.ts";
import { checkPackedDisk } from "../../src/images/base_disk/packed_disk.ts";
import { contentOf, DISK_TOOLS, makeExt4, partitioned, toQcow2 } from "../support/disks.ts";
import { checkExt4 } from "../support/ext4.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import { digestOf } from "../../src/images/digest.ts";
import { sourceContract } from "../contracts/source.ts";

const { ignore, note } = needs(...DISK_TOOLS);
const FOREVER = new AbortController().signal;
const CLUSTER = 65536;

/** A folder with `disk.raw`, an ext4 disk of 16 MiB that holds a file. */
class Disks extends TempFolder {
  get raw(): string {
    return join(this.path, "disk.raw");
  }

  static async make(): Promise<Disks> {
    const disks = new Disks();
    const root = join(disks.path, "root");
    await Deno.mkdir(join(root, "etc"), { recursive: true });
    await Deno.writeFile(join(root, "etc/data"), new Uint8Array(200_000).map((_, at) => at * 7));
    await makeExt4(disks.raw, root);
    return disks;
  }

  /** Writes a file and gives its path. */
  async put(name: string, bytes: Uint8Array): Promise<string> {
    const path = join(this.path, name);
    await Deno.writeFile(path, bytes);
    return path;
  }
}

function test(title: string, run: (disks: Disks) => Promise<void>): void {
  Deno.test(`diskSource ${title}${note}`, { ignore }, async () => {
    await using disks = await Disks.make();
    await run(disks);
  });
}

function open(reference: string, options?: DiskSourceOptions): Promise<SourceImage> {
  const source = diskSource(options).sources?.["disk"];
  assert.ok(source);
  return source.open({
    reference,
    platform: hostPlatform(),
    credentials: () => Promise.resolve(undefined),
    signal: FOREVER,
  });
}

/** The image's disk, written to a file. */
async function importDisk(reference: string, path: string): Promise<string> {
  await using image = await open(reference);
  const [layer] = layersOf(image);
  assert.ok(layer);
  const { body } = await image.blob(layer.digest, { offset: 0, signal: FOREVER });
  await Deno.writeFile(path, body);
  await checkPackedDisk(path);
  return path;
}

function layersOf(image: SourceImage) {
  const manifest = parseManifest(image.manifest, "the manifest");
  assert.ok(manifest.kind === "image");
  return manifest.layers;
}

async function refused(reference: string, message: RegExp, code = "invalid_image"): Promise<void> {
  await assert.rejects(open(reference), (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

sourceContract("disk", {
  source: diskSource().sources?.["disk"] ?? assert.fail(),
  ignore,
  hostile: [
    "?format=raw",
    "/a?format=vmdk",
    "/a?partition=0",
    "/a?x=1",
    "/a?format=raw&format=raw",
  ],
  async setup() {
    const disks = await Disks.make();
    return {
      reference: `${disks.path}/root/../disk.raw?format=raw`,
      missing: join(disks.path, "other.raw"),
      [Symbol.asyncDispose]: () => disks[Symbol.asyncDispose](),
    };
  },
});

test("gives the same image for the same content, in whatever format", async (disks) => {
  const { raw, path: folder } = disks;
  const plain = await toQcow2(raw, join(folder, "a.qcow2"));
  const forms = [
    plain,
    await toQcow2(raw, join(folder, "b"), { options: ["compat=0.10"] }),
    await toQcow2(raw, join(folder, "c"), { compress: true }),
    await toQcow2(raw, join(folder, "d"), { options: ["cluster_size=512"] }),
    await toQcow2(raw, join(folder, "e"), { options: ["cluster_size=2M"], compress: true }),
    await toQcow2(raw, join(folder, "f"), { options: ["preallocation=full"] }),
    await toQcow2(raw, join(folder, "g"), { options: ["lazy_refcounts=on"] }),
  ];
  await using image = await open(raw);
  for (const form of forms) {
    await using other = await open(form);
    assert.equal(other.digest, image.digest, form);
  }
  const packed = await importDisk(plain, join(folder, "packed"));
  assert.equal(
    digestOf(await contentOf(packed, "qcow2", folder)),
    digestOf(await Deno.readFile(raw)),
  );
  // Its snapshots are nobody's business.
  await runTool("qemu-img", "snapshot", "-c", "one", plain);
  await using snapshotted = await open(plain);
  assert.equal(snapshotted.digest, image.digest);
});

test("has no settings but a search path", async ({ raw }) => {
  await using image = await open(raw);
  const manifest = parseManifest(image.manifest, "the manifest");
  assert.ok(manifest.kind === "image");
  const { body } = await image.blob(manifest.config.digest, { offset: 0, signal: FOREVER });
  const bytes = new Uint8Array(await new Response(body).arrayBuffer());
  const { config, platform } = parseConfig(bytes, "the configuration", 1);
  assert.deepEqual(platform, hostPlatform());
  assert.deepEqual([config.cmd, config.entrypoint, config.user], [[], [], ""]);
  assert.deepEqual(Object.keys(config.env), ["PATH"]);
});

test("takes the file system out of a partition", async (disks) => {
  const { raw, path: folder } = disks;
  const [small, root] = [join(folder, "small"), await Deno.readFile(raw)];
  await makeExt4(small, join(folder, "root"), { mebibytes: 8, type: "ext2" });
  const boot = await Deno.readFile(small);
  const swap = new Uint8Array(64 * 512).fill(1);
  for (const kind of ["gpt", "mbr"] as const) {
    // Partitions begin within clusters.
    const bytes = partitioned(kind, 60_000, [
      { first: 63, content: swap },
      { first: 2049, content: boot },
      { first: 20_001, content: root },
    ]);
    const disk = await disks.put(kind, bytes);
    await using image = await open(disk);
    await using bare = await open(raw);
    assert.equal(image.digest, bare.digest, kind);
    await using second = await open(`${disk}?partition=2`);
    await using alone = await open(small);
    assert.equal(second.digest, alone.digest, kind);
    const packed = await importDisk(disk, join(folder, `${kind}.packed`));
    const flat = await disks.put(`${kind}.flat`, await contentOf(packed, "qcow2", folder));
    await checkExt4(flat);
    const inside = await toQcow2(disk, join(folder, `${kind}.qcow2`));
    await using converted = await open(inside);
    assert.equal(converted.digest, image.digest, kind);
    await refused(`${disk}?partition=1`, /partition 1 is nothing that hutch knows/);
    await refused(`${disk}?partition=4`, /has no partition 4/);
  }
});

test("says what a disk without a root has", async (disks) => {
  const text = (at: number, text: string) => {
    const bytes = new Uint8Array(1 << 20);
    bytes.set(new TextEncoder().encode(text), at);
    return bytes;
  };
  const squashfs = text(0, "hsqs");
  await refused(await disks.put("squashfs", squashfs), /it is squashfs, and has no partitions/);
  await refused(await disks.put("lvm", text(512, "LABELONE")), /volume of LVM/);
  await refused(
    await disks.put("gpt", partitioned("gpt", 4096, [{ first: 40, content: squashfs }])),
    /none of its partitions can be a root: 1 is squashfs/,
  );
  await refused(
    await disks.put(
      "extended",
      partitioned("mbr", 4096, [{ first: 40, content: squashfs, type: 5 }]),
    ),
    /has no partitions/,
  );
  const xfs = text(0, "XFSB");
  new DataView(xfs.buffer).setUint32(4, 4096);
  new DataView(xfs.buffer).setBigUint64(8, 257n);
  await refused(await disks.put("xfs", xfs), /it is XFS, cut short/);
  const btrfs = text(0x10040, "_BHRfS_M");
  new DataView(btrfs.buffer).setBigUint64(0x10088, 2n, true);
  await refused(await disks.put("btrfs", btrfs), /it is btrfs on several disks/);
  new DataView(btrfs.buffer).setBigUint64(0x10088, 1n, true);
  new DataView(btrfs.buffer).setBigUint64(0x10070, (1n << 20n) + 1n, true);
  await refused(await disks.put("btrfs", btrfs), /it is btrfs, cut short/);
  const damaged = partitioned("gpt", 4096, []);
  new DataView(damaged.buffer).setUint32(512 + 80, 0xffffffff, true);
  await refused(await disks.put("damaged", damaged), /partition table is damaged/);
  const root = await Deno.readFile(disks.raw);
  await refused(await disks.put("cut", root.subarray(0, 1 << 20)), /it is ext4, cut short/);
  // Behind the disk's end.
  const behind = partitioned("mbr", 4096, [{ first: 40, content: squashfs }]);
  new DataView(behind.buffer).setUint32(446 + 12, 0xfffffff0, true);
  await refused(await disks.put("behind", behind), /has no partitions/);
});

test("refuses what isn't a disk", async (disks) => {
  const fifo = join(disks.path, "fifo");
  await runTool("mkfifo", fifo);
  await refused(fifo, /it isn't a file/, "image_not_found");
  await refused(disks.path, /it isn't a file/, "image_not_found");
  await refused(join(disks.path, "none"), /there is no such file/, "image_not_found");
  await refused(`${disks.raw}/x`, /Cannot open disk/, "image_not_found");
  await refused(`${disks.raw}?format=qcow2`, /it isn't a qcow2 disk/);
  for (const length of [0, 1, 511, 512, 1500, 4096]) {
    const bytes = new Uint8Array(length).fill(9);
    await refused(await disks.put("short", bytes), /nothing that hutch knows/);
    bytes.set([0x51, 0x46, 0x49, 0xfb].slice(0, length));
    await refused(await disks.put("short", bytes), /Cannot (read|use) disk/);
  }
});

test("takes a raw disk as it is, whatever a guest wrote at its start", async (disks) => {
  const { raw, path: folder } = disks;
  const secret = await disks.put("secret", new Uint8Array(1 << 20).fill(65));
  const trap = join(folder, "trap.qcow2");
  await runTool("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", trap, "16M");
  const header = (await Deno.readFile(trap)).subarray(0, 1024);
  const bytes = await Deno.readFile(raw);
  bytes.set(header);
  const disk = await disks.put("written", bytes);
  const packed = await importDisk(`${disk}?format=raw`, join(folder, "packed"));
  assert.equal(digestOf(await contentOf(packed, "qcow2", folder)), digestOf(bytes));
  await refused(disk, /it has a backing file/);
});

test("refuses qcow2 disks that lead elsewhere or need what hutch doesn't know", async (disks) => {
  const { raw, path: folder } = disks;
  const good = await Deno.readFile(await toQcow2(raw, join(folder, "good")));
  const changed = async (change: (view: DataView) => void) => {
    const bytes = good.slice();
    change(new DataView(bytes.buffer));
    return await disks.put("changed", bytes);
  };
  const backed = join(folder, "backed");
  await runTool("qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F", "raw", backed);
  await refused(backed, /it has a backing file/);
  const external = join(folder, "external");
  const data = `data_file=${join(folder, "data")},data_file_raw=on`;
  await runTool("qemu-img", "convert", "-O", "qcow2", "-o", data, raw, external);
  await refused(external, /its data is in another file/);
  const extended = await toQcow2(raw, join(folder, "x"), { options: ["extended_l2=on"] });
  await refused(extended, /features that hutch doesn't know \(0x10\)/);
  const zstd = join(folder, "zstd");
  await toQcow2(raw, zstd, { options: ["compression_type=zstd"], compress: true });
  await refused(zstd, /isn't compressed with zlib/);
  await refused(await changed((view) => view.setUint32(32, 2)), /it is encrypted/);
  await refused(await changed((view) => view.setBigUint64(72, 2n)), /marked as corrupt/);
  await refused(await changed((view) => view.setBigUint64(72, 1n << 40n)), /0x10000000000\)/);
  await refused(await changed((view) => view.setUint32(4, 4)), /version is 4/);
  await refused(await changed((view) => view.setUint32(20, 40)), /no valid size/);
  await refused(await changed((view) => view.setBigUint64(24, 1n << 62n)), /16 TiB/);
  await refused(await changed((view) => view.setBigUint64(24, 1n << 40n)), /L1 table/);
  await refused(await changed((view) => view.setBigUint64(40, 1n << 40n)), /behind its end/);
  const l1 = Number(new DataView(good.buffer).getBigUint64(40));
  await refused(await changed((view) => view.setBigUint64(l1, 1n << 60n)), /L1 table is damaged/);
  await refused(await changed((view) => view.setBigUint64(l1, 1n << 55n)), /behind its end/);
  const l2 = Number(new DataView(good.buffer).getBigUint64(l1) & 0xffffffffffffn);
  for (const entry of [1n << 50n, BigInt(CLUSTER + 512), BigInt(CLUSTER + 2)]) {
    await refused(await changed((view) => view.setBigUint64(l2, entry)), /L2 table is damaged/);
  }
  await refused(await changed((view) => view.setBigUint64(l2, 1n << 62n)), /piece is damaged/);
  await refused(
    await changed((view) => view.setBigUint64(l2, (1n << 62n) + (1n << 50n))),
    /behind/,
  );
});

test("refuses a qcow2 disk that holds one piece many times over", async (disks) => {
  // One cluster of data and one L2 table, named by each of 2048 entries of the L1 table: 1 TiB.
  const bytes = new Uint8Array(5 * CLUSTER);
  const view = new DataView(bytes.buffer);
  const good = await Deno.readFile(await toQcow2(disks.raw, join(disks.path, "good")));
  bytes.set(good.subarray(0, 112));
  view.setBigUint64(24, 1n << 40n);
  view.setUint32(36, 2048);
  view.setBigUint64(40, BigInt(2 * CLUSTER));
  for (let at = 0; at < 2048; at++) view.setBigUint64(2 * CLUSTER + at * 8, BigInt(3 * CLUSTER));
  for (let at = 0; at < 8192; at++) view.setBigUint64(3 * CLUSTER + at * 8, BigInt(4 * CLUSTER));
  bytes.set((await Deno.readFile(disks.raw)).subarray(0, CLUSTER), 4 * CLUSTER);
  const bomb = await disks.put("bomb", bytes);
  await assert.rejects(open(bomb, { maxBytes: 32 << 20 }), { code: "limit_exceeded" });
});

test("looks for data in endless tables by pieces, so that it can be cancelled", async (disks) => {
  // Tables of 64 entries each, all of them the same empty one: 128 GiB in clusters of 512 bytes.
  const bytes = new Uint8Array((32 << 20) + 4096);
  const view = new DataView(bytes.buffer);
  bytes.set(
    (await Deno.readFile(await toQcow2(disks.raw, join(disks.path, "good")))).subarray(0, 112),
  );
  view.setUint32(20, 9);
  view.setBigUint64(24, 1n << 37n);
  view.setUint32(36, 1 << 22);
  view.setBigUint64(40, 4096n);
  for (let at = 0; at < 1 << 22; at++) view.setBigUint64(4096 + at * 8, 512n);
  const path = await disks.put("endless", bytes);
  using file = await DiskFile.open(path);
  const disk = await Qcow2Disk.open(file);
  const next = await disk.nextData(1 << 20);
  assert.ok(next > 1 << 20 && next < disk.sizeBytes / 100, `${next}`);
});

test("never fails but by a plain refusal, whatever is in a qcow2 file", async (disks) => {
  const { raw, path: folder } = disks;
  const plain = await Deno.readFile(await toQcow2(raw, join(folder, "plain")));
  const packed = await Deno.readFile(
    await toQcow2(raw, join(folder, "packed"), { compress: true }),
  );
  let random = 1;
  const next = (limit: number) => {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    return (random >>> 8) % limit;
  };
  const ends = { taken: 0, refused: 0 };
  for (let round = 0; round < 120; round++) {
    const good = round % 2 === 0 ? plain : packed;
    const tables = Number(new DataView(good.buffer).getBigUint64(40));
    const bytes = good.slice(0, round % 5 === 0 ? next(good.length) : good.length);
    for (let change = 0; change <= next(4); change++) {
      // The header, the first table and what follows it, where the second ones are.
      const at = [next(112), tables + next(64), tables + next(2 * CLUSTER)][next(3)] ?? 0;
      if (at < bytes.length) bytes[at] = next(256);
    }
    const path = await disks.put("fuzzed", bytes);
    try {
      await using image = await open(`${path}?format=qcow2`, { maxBytes: 64 << 20 });
      const [layer] = layersOf(image);
      const { body } = await image.blob(layer?.digest ?? "", { offset: 0, signal: FOREVER });
      const blob = new Uint8Array(await new Response(body).arrayBuffer());
      assert.equal(digestOf(blob), layer?.digest);
      ends.taken++;
    } catch (error) {
      assert.ok(error instanceof HutchError, `round ${round}: ${error}`);
      assert.ok(["invalid_image", "limit_exceeded"].includes(error.code), error.message);
      ends.refused++;
    }
  }
  assert.ok(ends.taken > 5 && ends.refused > 5, JSON.stringify(ends));
});

test("reads no holes of a raw disk", async (disks) => {
  const { raw, path: folder } = disks;
  await using small = await open(raw);
  const [inSmall] = layersOf(small);
  const large = join(folder, "large");
  await Deno.copyFile(raw, large);
  {
    using file = await Deno.open(large, { write: true });
    await file.truncate(2 * 2 ** 40); // takes long to read
    await file.seek(1.5 * 2 ** 40 + 5, Deno.SeekMode.Start);
    await file.write(new Uint8Array([1]));
  }
  await using image = await open(large);
  const [layer] = layersOf(image);
  // One more cluster, with its table, and the larger tables of the larger disk.
  assert.ok((layer?.size ?? 0) - (inSmall?.size ?? 0) < 16 * CLUSTER, `${layer?.size}`);
});

test("tells of a disk that was replaced since it was opened", async ({ raw }) => {
  await using image = await open(raw);
  const [layer] = layersOf(image);
  await Deno.copyFile(raw, `${raw}.new`);
  await Deno.rename(`${raw}.new`, raw);
  const { body } = await image.blob(layer?.digest ?? "", { offset: 0, signal: FOREVER });
  await assert.rejects(new Response(body).arrayBuffer(), /disk\.raw: it changed meanwhile/);
});

test("tells of a disk that changed since it was opened", async ({ raw }) => {
  await using image = await open(raw);
  const [layer] = layersOf(image);
  {
    using file = await Deno.open(raw, { write: true });
    await file.truncate(17 << 20);
  }
  const { body } = await image.blob(layer?.digest ?? "", { offset: 0, signal: FOREVER });
  await assert.rejects(new Response(body).arrayBuffer(), /disk\.raw: it changed meanwhile/);
});
