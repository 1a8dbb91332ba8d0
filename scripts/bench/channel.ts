/**
 * What goes through a command's streams, against the bare channel; memory of an idle box process.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join } from "node:path";
import { type Box, hostPlatform } from "../../mod.ts";
import { findBusybox } from "../../plugins/sources/builtin/busybox.ts";
import { type BootSetting, startBare } from "./boot.ts";
import { rawExec, rawIn, rawOut, rawRoundTrip } from "./raw.ts";
import { type Figure, figure, timed } from "./stats.ts";

/** What goes through the streams, in `MiB`; the emulated machine takes 25 times as long. */
const MIB = 256;
const LAB_MIB = 16;

/** Runs the benchmark on one running box and one bare machine, in turn. */
export async function benchChannel(setting: BootSetting): Promise<Figure[]> {
  const { runtime, engine, runs, bare, lab } = setting;
  const mib = lab ? LAB_MIB : MIB;
  const bytes = mib * 2 ** 20;
  const disk = await rawGuestDisk(bare.folder);
  await using box = await runtime.create({
    image: "builtin:busybox",
    engine,
    memory: bare.memoryMiB,
  });
  await box.exec("true");
  await new Promise((resolve) => setTimeout(resolve, 4_000)); // idle
  const memory = await privateMiB((await box.info()).pid ?? 0);
  await using machine = await startBare(setting, [{ path: disk, format: "raw", readOnly: true }]);
  const { connection } = machine;
  const execs: number[] = [];
  const trips: number[] = [];
  const forks: number[] = [];
  for (let n = 0; n < 50; n++) {
    trips.push(await rawRoundTrip(connection));
    forks.push(await rawExec(connection, 1));
    execs.push(await timed(async () => await box.exec("true")));
  }
  const out = { ours: [] as number[], port: [] as number[], pipe: [] as number[] };
  const into = { ours: [] as number[], port: [] as number[], pipe: [] as number[] };
  for (let run = 0; run < runs; run++) {
    out.port.push(await rawOut(connection, { bytes, end: "port" }));
    out.pipe.push(await rawOut(connection, { bytes, end: "pipe" }));
    out.ours.push(await boxOut(box, bytes));
    into.port.push(await rawIn(connection, { bytes, end: "port" }));
    into.pipe.push(await rawIn(connection, { bytes, end: "pipe" }));
    into.ours.push(await boxIn(box, bytes));
  }
  /** Beside what was promised, and beside what a command's pipe alone costs. */
  const transfer = (direction: string, way: "in" | "out", { ours, port, pipe }: typeof out) => [
    figure({
      name: `${engine}: ${mib} MiB ${direction} a command`,
      ours,
      floors: port,
      floorName: `raw channel ${way}`,
      unit: "MiB/s",
      target: { atLeast: 0.8 },
    }),
    figure({
      name: `${engine}:   the same`,
      ours,
      floors: pipe,
      floorName: `raw channel ${way} by a child's pipe`,
      unit: "MiB/s",
    }),
  ];
  return [
    figure({
      name: `${engine}: exec of true`,
      ours: execs,
      floors: trips,
      floorName: "raw channel round trip",
      unit: "ms",
    }),
    figure({
      name: `${engine}:   the same`,
      ours: execs,
      floors: forks,
      floorName: "fork, exec and wait of true in the raw guest",
      unit: "ms",
    }),
    ...transfer("from", "out", out),
    ...transfer("to", "in", into),
    figure({
      name: `${engine}: private memory of an idle box process`,
      ours: [memory],
      unit: "MiB",
      target: { atMost: 12 },
    }),
  ];
}

async function boxOut(box: Box, bytes: number): Promise<number> {
  await using execution = box.exec("dd", ["if=/dev/zero", "bs=256k", `count=${bytes >> 18}`]);
  const from = performance.now();
  let length = 0;
  for await (const chunk of execution.stdout) length += chunk.length;
  if (length !== bytes) throw new Error(`${length} bytes came`);
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

async function boxIn(box: Box, bytes: number): Promise<number> {
  const chunk = new Uint8Array(256 * 1024);
  await using execution = box.exec("dd", ["of=/dev/null", "bs=256k"], { stdin: "piped" });
  await execution.started;
  const from = performance.now();
  const writer = execution.stdin.getWriter();
  for (let left = bytes; left > 0; left -= chunk.length) await writer.write(chunk);
  await writer.close();
  await execution.status;
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

/** Memory that goes when the process does, beside what QEMU or libkrun holds for the guest. */
async function privateMiB(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/smaps`);
  let kib = 0;
  let guest = false;
  for (const row of text.split("\n")) {
    // The guest's memory is one large anonymous mapping of this very process on libkrun.
    const area = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)$/.exec(row);
    if (area) {
      const size = parseInt(area[2] ?? "", 16) - parseInt(area[1] ?? "", 16);
      guest = size >= 100 * 2 ** 20 && /memfd|zero|^$/.test(area[3] ?? "") && isGuest(size);
    }
    const dirty = /^Private_Dirty:\s+(\d+) kB/.exec(row);
    if (dirty && !guest) kib += Number(dirty[1]);
  }
  return kib / 1024;
}

/** Guest memory is a whole number of MiB; V8's and malloc's reserved areas aren't written whole. */
function isGuest(size: number): boolean {
  return size % 2 ** 20 === 0 && size <= 2 ** 31;
}

/** A disk whose first program is the raw guest, compiled here; beside it the `true` that boxes have. */
export async function rawGuestDisk(folder: string): Promise<string> {
  const tree = join(folder, "raw");
  for (const name of ["bin", "dev", "sys", "proc"]) {
    await Deno.mkdir(join(tree, name), { recursive: true });
  }
  const source = fileURLToPath(import.meta.resolve("./raw_guest.c"));
  await run("cc", ["-static", "-O2", "-o", join(tree, "init"), source]);
  const busybox = await findBusybox(hostPlatform(), AbortSignal.timeout(10_000));
  await Deno.copyFile(busybox.path, join(tree, "bin/true"));
  const disk = join(folder, "raw.ext4");
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", tree, disk, "16M"]);
  return disk;
}

async function run(program: string, args: readonly string[]): Promise<void> {
  const { code, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  if (code !== 0) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}
