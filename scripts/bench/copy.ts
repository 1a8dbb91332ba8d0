/**
 * Copies into a box and out of it, against the bare channel and against tar in the guest.
 *
 * @module
 */
import { join } from "node:path";
import type { Box } from "../../mod.ts";
import { type BootSetting, startBare } from "./boot.ts";
import { rawGuestDisk } from "./channel.ts";
import { rawIn, rawOut } from "./raw.ts";
import { type Figure, figure, timed } from "./stats.ts";

/** The large file, in `MiB`; the emulated machine takes 25 times as long. */
const MIB = 1024;
const LAB_MIB = 16;
/** The small files. */
const COUNT = 10_000;
const LAB_COUNT = 1000;
const SMALL = 1024;
const MOST_RUNS = 5;

/** Runs the benchmark on one running box and one bare machine, in turn. */
export async function benchCopy(setting: BootSetting): Promise<Figure[]> {
  const { runtime, engine, bare, lab } = setting;
  const runs = Math.min(setting.runs, MOST_RUNS);
  const mib = Number(Deno.env.get("BENCH_COPY_MIB") ?? (lab ? LAB_MIB : MIB));
  const count = Number(Deno.env.get("BENCH_COPY_FILES") ?? (lab ? LAB_COUNT : COUNT));
  const files = join(bare.folder, "copy");
  await makeFiles(files, mib, count);
  const disk = await rawGuestDisk(bare.folder);
  await using box = await runtime.create({
    image: "builtin:busybox",
    engine,
    memory: bare.memoryMiB,
  });
  await box.exec("true");
  await using machine = await startBare(setting, [{ path: disk, format: "raw", readOnly: true }]);
  const large = {
    in: [] as number[],
    out: [] as number[],
    rawIn: [] as number[],
    rawOut: [] as number[],
    guestIn: [] as number[],
    guestDirectIn: [] as number[],
    guestDirectOut: [] as number[],
    host: [] as number[],
  };
  const bytes = mib * 2 ** 20;
  const [from, to] = [join(files, "large"), join(files, "back")];
  const rate = async (run: () => PromiseLike<unknown>) =>
    mib / (await timed(async () => void await run()) / 1000);
  for (let run = 0; run < runs; run++) {
    large.rawIn.push(await rawIn(machine.connection, { bytes, end: "port" }));
    large.in.push(await rate(() => box.copyIn(from, "/large")));
    large.rawOut.push(await rawOut(machine.connection, { bytes, end: "port" }));
    large.out.push(await rate(() => box.copyOut("/large", to)));
    await Deno.remove(to);
    large.host.push(await rate(() => writeFile(to, mib)));
    await Deno.remove(to);
    await box.exec("rm", ["/large"]);
    const guest = async (script: string) => mib / (await inGuest(box, script) / 1000);
    const write = `dd if=/dev/zero of=/own bs=1M count=${mib}`;
    large.guestIn.push(await guest(`${write} && sync`));
    await box.exec("rm", ["/own"]);
    large.guestDirectIn.push(await guest(`${write} oflag=direct`));
    large.guestDirectOut.push(await guest("dd if=/own of=/dev/null bs=1M iflag=direct"));
    await box.exec("rm", ["/own"]);
  }
  // What the channel doesn't do, whoever brings the bytes.
  const beside = (name: string, ours: number[], floors: number[], floorName: string) =>
    figure({ name: `${engine}:   ${name}, beside`, ours, floors, floorName, unit: "MiB/s" });
  const small = { ours: [] as number[], tar: [] as number[] };
  await box.copyIn(join(files, "small.tar"), "/small.tar");
  for (let run = 0; run < runs; run++) {
    small.tar.push(await inGuest(box, "mkdir /t && cd /t && tar -xf /small.tar"));
    small.ours.push(await timed(async () => void await box.copyIn(join(files, "small"), "/t2")));
    await box.exec("rm", ["-rf", "/t", "/t2"]);
  }
  return [
    figure({
      name: `${engine}: copyIn of a file of ${mib} MiB`,
      ours: large.in,
      floors: large.rawIn,
      floorName: "raw channel in",
      unit: "MiB/s",
      target: { atLeast: 0.8 },
    }),
    beside("copyIn", large.in, large.guestIn, "dd and sync in the guest, to that disk"),
    beside("copyIn", large.in, large.guestDirectIn, "dd in the guest past its page cache"),
    figure({
      name: `${engine}:   that dd past the page cache`,
      ours: large.guestDirectIn,
      floors: large.rawIn,
      floorName: "raw channel in",
      unit: "MiB/s",
    }),
    figure({
      name: `${engine}: copyOut of a file of ${mib} MiB`,
      ours: large.out,
      floors: large.rawOut,
      floorName: "raw channel out",
      unit: "MiB/s",
      target: { atLeast: 0.8 },
    }),
    beside("copyOut", large.out, large.guestDirectOut, "dd in the guest past its page cache"),
    beside("copyOut", large.out, large.host, "writing the file on the host"),
    figure({
      name: `${engine}:   that file on the host`,
      ours: large.host,
      floors: large.rawOut,
      floorName: "raw channel out",
      unit: "MiB/s",
    }),
    figure({
      name: `${engine}: copyIn of ${count} files of 1 KiB`,
      ours: small.ours,
      floors: small.tar,
      floorName: "busybox tar -x in the guest",
      unit: "ms",
      target: { atMost: 1.5 },
    }),
  ];
}

/** The time a script takes in the box, without that of asking for it. */
async function inGuest(box: Box, script: string): Promise<number> {
  const empty = await timed(async () => void await box.exec("sh", ["-c", "true"]));
  const whole = await timed(async () => {
    const { code, stderr } = await box.exec("sh", ["-c", script]);
    if (code !== 0) throw new Error(stderr);
  });
  return whole - empty;
}

/** Writes zeros in pieces as large as a frame. */
async function writeFile(path: string, mib: number): Promise<void> {
  const chunk = new Uint8Array(256 * 1024);
  using file = await Deno.create(path);
  for (let n = 0; n < mib * 4; n++) {
    for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
  }
}

async function makeFiles(folder: string, mib: number, count: number): Promise<void> {
  await Deno.mkdir(join(folder, "small"), { recursive: true });
  const chunk = crypto.getRandomValues(new Uint8Array(65_536));
  const file = await Deno.create(join(folder, "large"));
  for (let n = 0; n < mib * 16; n++) await file.write(chunk);
  file.close();
  for (let n = 0; n < count; n++) {
    const inner = join(folder, "small", `folder-${n % 100}`);
    if (n < 100) await Deno.mkdir(inner);
    await Deno.writeFile(join(inner, `file-${n}`), chunk.subarray(0, SMALL));
  }
  const args = ["-C", join(folder, "small"), "-cf", join(folder, "small.tar"), "."];
  const { code } = await new Deno.Command("tar", { args }).output();
  if (code !== 0) throw new Error("tar failed");
}
