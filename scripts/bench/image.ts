/**
 * From an image's reference to its base disk, against reading the same blobs with the usual
 * programs, and against umoci.
 *
 * @module
 */
import { join } from "node:path";
import { hostPlatform } from "../../src/images/platform.ts";
import { ImageStore } from "../../src/images/store.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import { buildBaseDisk } from "../../src/images/unpack.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { ociSource } from "../../plugins/sources/oci.ts";
import { type Figure, figure, timed } from "./stats.ts";

/** Runs the benchmark in a folder, with an image of three layers made of this machine's files. */
export async function benchImage(folder: string, runs: number): Promise<Figure[]> {
  const layout = join(folder, "layout");
  await makeImage(folder, layout);
  const ours: number[] = [];
  const floors: number[] = [];
  const unpacks: number[] = [];
  const blobs = await layerBlobs(layout);
  for (let run = 0; run < runs; run++) {
    floors.push(
      await timed(() =>
        sh(blobs.map((blob) => `gzip -dc ${blob} > /dev/null; sha256sum ${blob}`).join("; "))
      ),
    );
    ours.push(await ourWay(join(folder, `home-${run}`), layout));
    unpacks.push(
      await timed(() => sh(`umoci unpack --image ${layout}:bench ${join(folder, "bundle")}`)),
    );
    await sh(`rm -rf ${join(folder, "bundle")} ${join(folder, `home-${run}`)}`);
  }
  return [
    figure({
      name: "image: reference to base disk",
      ours,
      floors,
      floorName: "gzip -dc + sha256sum of the same blobs",
      unit: "ms",
      target: { atMost: 2 },
    }),
    figure({
      name: "image: reference to base disk",
      ours,
      floors: unpacks,
      floorName: "umoci unpack",
      unit: "ms",
      target: { atMost: 1 },
    }),
  ];
}

async function ourWay(home: string, layout: string): Promise<number> {
  const store = new ImageStore({
    paths: pathsOf(home),
    records: new MemoryImageRecords(),
    sources: new Map(Object.entries(ociSource().sources ?? {})),
    platform: hostPlatform(),
    build: buildBaseDisk,
  });
  await Deno.mkdir(home, { recursive: true });
  return await timed(async () => {
    const { digest } = await store.pull(`oci:${layout}:bench`);
    await store.baseDisk(digest);
  });
}

/** About 500 MB of tar in three layers, of programs, libraries and documents. */
async function makeImage(folder: string, layout: string): Promise<void> {
  await sh(`umoci init --layout ${layout} && umoci new --image ${layout}:bench`);
  const parts = ["/usr/bin /usr/sbin", "/usr/lib/x86_64-linux-gnu", "/usr/share"];
  for (const [index, part] of parts.entries()) {
    const tar = join(folder, `layer-${index}.tar`);
    // About 170 MB of each, whatever this machine has more.
    await sh(
      `find ${part} -xdev -type f -size -20M -print0 2>/dev/null | sort -z | ` +
        `tar --null -T - -cf - 2>/dev/null | head -c 170000000 > ${tar} || true; ` +
        `tar --ignore-zeros -tf ${tar} > /dev/null 2>&1 || true`,
    );
    await trimToWholeEntries(tar);
    await sh(`umoci raw add-layer --image ${layout}:bench ${tar} && rm ${tar}`);
  }
}

/** A tar that was cut ends in the middle of a file: takes that file off, and ends it properly. */
async function trimToWholeEntries(path: string): Promise<void> {
  using file = await Deno.open(path, { read: true, write: true });
  const { size } = await file.stat();
  const header = new Uint8Array(512);
  let at = 0;
  let whole = 0;
  while (at + 512 <= size) {
    await file.seek(at, Deno.SeekMode.Start);
    if (await file.read(header) !== 512 || header[0] === 0) break;
    const length = parseInt(new TextDecoder().decode(header.subarray(124, 136)), 8);
    at += 512 + Math.ceil(length / 512) * 512;
    const type = String.fromCharCode(header[156] ?? 0);
    if (at <= size && type !== "L" && type !== "K" && type !== "x") whole = at;
  }
  await file.truncate(whole);
  await file.truncate(whole + 1024);
}

async function layerBlobs(layout: string): Promise<string[]> {
  const blobs = join(layout, "blobs", "sha256");
  const found: string[] = [];
  for await (const { name } of Deno.readDir(blobs)) {
    const path = join(blobs, name);
    if ((await Deno.stat(path)).size > 1_000_000) found.push(path);
  }
  return found;
}

async function sh(script: string): Promise<void> {
  const { code, stderr } = await new Deno.Command("sh", { args: ["-c", script] }).output();
  if (code !== 0) throw new Error(`${script}: ${new TextDecoder().decode(stderr)}`);
}
