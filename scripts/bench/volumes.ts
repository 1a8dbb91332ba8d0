/**
 * What a shared folder gives a box: a long file read and written, and an archive of small files unpacked,
 * against the same on the box's own disk. `BENCH_VOLUME_MIB` and `BENCH_VOLUME_FILES` say how much.
 *
 * @module
 */
import { join } from "node:path";
import type { Box } from "../../mod.ts";
import type { BootSetting } from "./boot.ts";
import { type Figure, figure } from "./stats.ts";

const MIB = 1024;
const FILES = 10_000;
const LAB_MIB = 64;
const LAB_FILES = 500;
const FILES_OF_FOLDER = 100;
const FORGET = "sync; echo 3 > /proc/sys/vm/drop_caches";

/** Runs the benchmark in one box, on both in turn. */
export async function benchVolumes(setting: BootSetting): Promise<Figure[]> {
  const { runtime, engine, bare, lab } = setting;
  const runs = Math.min(setting.runs, 3);
  const mib = Number(Deno.env.get("BENCH_VOLUME_MIB") ?? (lab ? LAB_MIB : MIB));
  const count = Number(Deno.env.get("BENCH_VOLUME_FILES") ?? (lab ? LAB_FILES : FILES));
  const shared = join(bare.folder, "shared");
  await Deno.mkdir(shared);
  await using box = await runtime.create({
    ...{ image: "builtin:busybox", engine, memory: bare.memoryMiB, network: "none" },
    volumes: [`${shared}:/shared`],
  });
  await makeArchive(box, count);
  const [disk, volume] = ["/disk", "/shared"];
  await box.exec("mkdir", [disk]);
  const works = [
    ["write", `dd if=/dev/zero of=FOLDER/long bs=1M count=${mib} conv=fsync`],
    ["read", `dd if=FOLDER/long of=/dev/null bs=1M`],
    ["unpack", "mkdir FOLDER/tree && tar -x -f /archive.tar -C FOLDER/tree && sync"],
  ] as const;
  const figures: Figure[] = [];
  for (const [name, script] of works) {
    const measured = { ours: [] as number[], floors: [] as number[] };
    for (let run = 0; run < runs; run++) {
      await said(box, `rm -rf ${disk}/tree ${volume}/tree`);
      for (const [folder, into] of [[disk, measured.floors], [volume, measured.ours]] as const) {
        const seconds = await timedIn(box, script.replaceAll("FOLDER", folder));
        into.push(name === "unpack" ? count / seconds : mib / seconds);
      }
    }
    figures.push(figure({
      name: name === "unpack"
        ? `${engine}: tar -x of ${count} files on a volume`
        : `${engine}: ${name} ${mib} MiB on a volume`,
      ...measured,
      floorName: "the box's own disk",
      unit: name === "unpack" ? "/s" : "MiB/s",
    }));
  }
  return figures;
}

/** On the box's own disk, of files of a KiB. */
async function makeArchive(box: Box, count: number): Promise<void> {
  await said(
    box,
    `mkdir /tmp/made && cd /tmp/made && i=0; while [ $i -lt ${count} ]; do
      d=$((i / ${FILES_OF_FOLDER})); [ -d $d ] || mkdir $d
      head -c 1024 /dev/zero > $d/$i; i=$((i + 1))
    done; tar -c -f /archive.tar . && rm -rf /tmp/made`,
  );
}

/** In seconds, with nothing in its memory before. */
async function timedIn(box: Box, script: string): Promise<number> {
  await said(box, FORGET);
  const from = performance.now();
  await said(box, script);
  return (performance.now() - from) / 1_000;
}

async function said(box: Box, script: string): Promise<void> {
  const { code, stderr } = await box.exec("sh", ["-c", script]);
  if (code !== 0) throw new Error(`the box says: ${stderr}`);
}
