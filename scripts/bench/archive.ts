/**
 * Exporting and importing a box, against zstd of the same bytes.
 *
 * @module
 */
import { join } from "node:path";
import type { Box } from "../../mod.ts";
import type { BootSetting } from "./boot.ts";
import { type Figure, figure, timed } from "./stats.ts";

/** What is on the box's disk, in `MiB`; the emulated machine is slow. */
const MIB = 512;
const LAB_MIB = 32;
const MOST_RUNS = 5;

/** Runs the benchmark on one box that doesn't run; what is compressed is the archive's own tar. */
export async function benchArchive(setting: BootSetting): Promise<Figure[]> {
  const { runtime, engine, bare, lab } = setting;
  const runs = Math.min(setting.runs, MOST_RUNS);
  const data = join(bare.folder, "archive-data");
  const archive = join(bare.folder, "archive.hutch");
  const plain = join(bare.folder, "archive.tar");
  const packed = `${plain}.zst`;
  const options = { image: "builtin:busybox", engine, memory: bare.memoryMiB };
  const box = await runtime.create({ ...options, name: "archived" });
  await makeData(data, Number(Deno.env.get("BENCH_ARCHIVE_MIB") ?? (lab ? LAB_MIB : MIB)));
  await box.copyIn(data, "/data");
  await box.stop();
  await box.export(archive);
  await zstd("-d", "-f", "-o", plain, archive);
  const mib = (await Deno.stat(plain)).size / 2 ** 20;
  const rate = async (run: () => Promise<unknown>) => mib / (await timed(run) / 1000);
  const rates = { out: [] as number[], in: [] as number[], pack: [] as number[] };
  for (let run = 0; run < runs; run++) {
    rates.pack.push(await rate(() => zstd("-T2", "-3", "-f", "-o", packed, plain)));
    rates.out.push(await rate(() => box.export(archive)));
    let copy: Box | undefined;
    rates.in.push(
      await rate(async () => {
        ({ box: copy } = await runtime.import(archive, { name: `import-${run}` }));
      }),
    );
    await copy?.remove();
  }
  await box.remove();
  for (const path of [data, archive, plain, packed]) await Deno.remove(path);
  const floor = {
    floors: rates.pack,
    floorName: "zstd -T2 -3 of the same",
    unit: "MiB/s",
  } as const;
  const target = { atLeast: 0.7 };
  return [
    figure({ name: `${engine}: export of a box`, ours: rates.out, ...floor, target }),
    figure({ name: `${engine}: import of a box`, ours: rates.in, ...floor, target }),
  ];
}

/** Bytes of programs, as most of what is on disks: what Deno itself is made of, over and over. */
async function makeData(path: string, mib: number): Promise<void> {
  using program = await Deno.open(Deno.execPath());
  using file = await Deno.open(path, { write: true, create: true, truncate: true });
  const piece = new Uint8Array(2 ** 20);
  for (let left = mib; left > 0;) {
    const got = await program.read(piece);
    if (got === null) {
      await program.seek(0, Deno.SeekMode.Start);
      continue;
    }
    for (let done = 0; done < got;) done += await file.write(piece.subarray(done, got));
    left -= got / piece.length;
  }
}

async function zstd(...args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("zstd", { args: ["-q", ...args] }).output();
  if (!success) throw new Error(`zstd: ${new TextDecoder().decode(stderr)}`);
}
