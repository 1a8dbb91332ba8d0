/**
 * From an image's reference to its base disk, against reading the same blobs in one process, and
 * against the usual programs.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { createGunzip } from "node:zlib";
import { grownExt4 } from "../../ffi/helper.ts";
import { createOverlay } from "../../src/disk/qcow2.ts";
import { hostPlatform } from "../../src/images/platform.ts";
import { type ImageRecord, MemoryImageRecords } from "../../src/images/records.ts";
import { ImageStore } from "../../src/images/store.ts";
import { buildBaseDisk } from "../../src/images/base_disk/unpack.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { copyImage } from "../../tests/support/images.ts";
import { startRegistry } from "../../tests/support/registry.ts";
import { makeImage } from "./image_layout.ts";
import { type Figure, figure, timed } from "./stats.ts";

/** Bytes that a piece of a file or a stream has. */
const PIECE = 256 * 1024;
/** A home is made anew for each run, and the pull after the first is measured this often. */
const AGAIN = 20;

/** What the runs took, in milliseconds. */
interface Times {
  readonly ours: number[];
  readonly zstd: number[];
  readonly floors: number[];
  /** `gzip -dc` and `sha256sum` of the blobs. */
  readonly shells: number[];
  readonly programs: number[];
  /** `umoci unpack` alone. */
  readonly unpacks: number[];
  readonly again: number[];
  readonly asking: number[];
  readonly overlay: number[];
  readonly overlayKiB: number[];
}

/** Runs the benchmark in a folder, with an image of three layers made of this machine's files. */
export async function benchImage(folder: string, runs: number): Promise<Figure[]> {
  const made = await makeImage(folder);
  await using registry = await startRegistry();
  const gzip = `${registry.host}/bench:gzip`;
  const zstd = `${registry.host}/bench:zstd`;
  await copyImage(`oci:${made.layout}:bench`, `docker://${gzip}`);
  await copyImage(`oci:${made.layout}:bench`, `docker://${zstd}`, { compression: "zstd" });
  const times: Times = {
    ours: [],
    zstd: [],
    floors: [],
    shells: [],
    programs: [],
    unpacks: [],
    again: [],
    asking: [],
    overlay: [],
    overlayKiB: [],
  };
  for (let run = 0; run < runs; run++) {
    const home = join(folder, `home-${run}`);
    times.floors.push(await floor(made.blobs, made.tree, folder));
    times.ours.push(await pullTime(home, gzip, times));
    times.zstd.push(await pullTime(`${home}-zstd`, zstd));
    times.shells.push(
      await timed(() =>
        sh(`gzip -dc ${made.blobs.join(" ")} > /dev/null && sha256sum ${made.blobs.join(" ")}`)
      ),
    );
    const { all, unpack } = await programs(folder, gzip);
    times.programs.push(all);
    times.unpacks.push(unpack);
    for (const path of [home, `${home}-zstd`]) await Deno.remove(path, { recursive: true });
  }
  return figures(`image: reference to base disk (${made.description})`, times);
}

function figures(name: string, times: Times): Figure[] {
  const { ours, zstd, floors, shells, programs, unpacks } = times;
  const { again, asking, overlay, overlayKiB } = times;
  const beside = again.map((ms, index) => ms - (asking[index] ?? 0));
  return [
    figure({
      name,
      ours,
      floors,
      floorName: "hash, gunzip and hash of the same blobs in one process, then mke2fs -d",
      unit: "ms",
      target: { atMost: 1.5 },
    }),
    figure({
      name: "image: the same",
      ours,
      floors: shells,
      floorName: "gzip -dc + sha256sum of the same blobs",
      unit: "ms",
      target: { atMost: 2 },
    }),
    figure({
      name: "image: the same",
      ours,
      floors: unpacks,
      floorName: "umoci unpack",
      unit: "ms",
      target: { atMost: 1 },
    }),
    figure({
      name: "image: the same",
      ours,
      floors: programs,
      floorName: "skopeo copy + umoci unpack + mke2fs -d",
      unit: "ms",
      target: { atMost: 0.3 },
    }),
    figure({
      name: "image: the same with zstd layers",
      ours: zstd,
      floors: ours,
      floorName: "ours with gzip layers",
      unit: "ms",
      target: { atMost: 1 },
    }),
    figure({
      name: "image: pulled again with nothing new, beside the network",
      ours: beside,
      unit: "ms",
      target: { atMost: 50 },
    }),
    figure({ name: "image: a box's overlay", ours: overlay, unit: "ms", target: { atMost: 10 } }),
    figure({
      name: "image: a box's overlay on the host's disk",
      ours: overlayKiB,
      unit: "KiB",
      target: { atMost: 256 },
    }),
  ];
}

/** Pulls into a new home, disk and all; with `times`, pulls again and makes an overlay. */
async function pullTime(home: string, name: string, times?: Times): Promise<number> {
  const [host = ""] = name.split("/", 1);
  const paths = pathsOf(home);
  const store = new ImageStore({
    paths,
    records: new MemoryImageRecords(),
    sources: new Map(Object.entries(registrySource().sources ?? {})),
    platform: hostPlatform(),
    registries: new Map([[host, { insecure: true }]]),
    build: buildBaseDisk,
  });
  await Deno.mkdir(home, { recursive: true });
  const ms = await timed(() => store.pull(`registry:${name}`, { disk: true }));
  if (times) {
    for (let run = 0; run < AGAIN; run++) {
      let record: ImageRecord | undefined;
      times.again.push(
        await timed(async () => {
          record = await store.pull(`registry:${name}`, { disk: true });
        }),
      );
      times.asking.push(await timed(() => askForManifest(name)));
      if (record) await overlay(store, record, join(home, `overlay-${run}`), times);
    }
  }
  return ms;
}

/** What the network costs when nothing is new: one question. */
async function askForManifest(name: string): Promise<void> {
  const [, host, tag] = /^(.*)\/bench:(.*)$/.exec(name) ?? [];
  const answer = await fetch(`http://${host}/v2/bench/manifests/${tag}`, {
    headers: { accept: "application/vnd.oci.image.manifest.v1+json" },
  });
  await answer.bytes();
}

async function overlay(
  store: ImageStore,
  record: ImageRecord,
  path: string,
  times: Times,
): Promise<void> {
  const { path: backingPath, format: backingFormat } = await store.disk(record.digest);
  const sizeBytes = 10 * 2 ** 30;
  times.overlay.push(
    await timed(async () => {
      const clusters = grownExt4(backingPath, sizeBytes);
      await createOverlay({ path, backingPath, backingFormat, sizeBytes, clusters });
    }),
  );
  times.overlayKiB.push(((await Deno.stat(path)).blocks ?? NaN) / 2);
}

async function floor(blobs: readonly string[], tree: string, folder: string): Promise<number> {
  const disk = join(folder, "floor.ext4");
  const ms = await timed(async () => {
    for (const blob of blobs) {
      const [packed, plain] = [createHash("sha256"), createHash("sha256")];
      const file = createReadStream(blob, { highWaterMark: PIECE });
      file.on("data", (piece) => packed.update(piece));
      for await (const piece of file.pipe(createGunzip({ chunkSize: PIECE }))) plain.update(piece);
      packed.digest();
      plain.digest();
    }
    await sh(`mke2fs -q -t ext4 -d ${tree} ${disk} 2g`);
  });
  await Deno.remove(disk);
  return ms;
}

async function programs(
  folder: string,
  name: string,
): Promise<{ readonly all: number; readonly unpack: number }> {
  const [layout, bundle, disk] = ["copied", "bundle", "unpacked.ext4"].map((n) => join(folder, n));
  const [copy, unpack, make] = [
    `skopeo --insecure-policy copy -q --src-tls-verify=false docker://${name} oci:${layout}:x`,
    `umoci unpack --image ${layout}:x ${bundle}`,
    `mke2fs -q -t ext4 -d ${bundle}/rootfs ${disk} 2g`,
  ];
  const times = { all: 0, unpack: 0 };
  times.all += await timed(() => sh(copy));
  times.unpack = await timed(() => sh(unpack));
  times.all += times.unpack + await timed(() => sh(make));
  await sh(`rm -rf ${layout} ${bundle} ${disk}`);
  return times;
}

async function sh(script: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  if (code !== 0) throw new Error(`${script}: ${new TextDecoder().decode(stderr)}`);
}
