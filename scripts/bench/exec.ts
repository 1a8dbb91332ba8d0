/**
 * Commands: alone, beside what they cost without hutch, many at once, and on a terminal.
 *
 * @module
 */
import { join } from "node:path";
import type { Box } from "../../mod.ts";
import { type BootSetting, startBare } from "./boot.ts";
import { rawGuestDisk } from "./channel.ts";
import { rawExec, rawRoundTrip } from "./raw.ts";
import { type Figure, figure, median, timed } from "./stats.ts";

/** Commands at once. */
const MANY = 200;
/** From here on the guest's processor is what bounds them, in percent. */
const BUSY = 80;

/** Runs the benchmark. */
export async function benchExec(setting: BootSetting): Promise<Figure[]> {
  return [...await single(setting), ...await prompts(setting)];
}

/** One command, and many, on a running box; in turn with a machine without hutch. */
async function single(setting: BootSetting): Promise<Figure[]> {
  const { runtime, engine, bare, runs } = setting;
  const options = { image: "builtin:busybox", engine, memory: bare.memoryMiB };
  await using box = await runtime.create(options);
  await box.exec("true");
  const disk = await rawGuestDisk(join(bare.folder, "exec"));
  await using machine = await startBare(setting, [{ path: disk, format: "raw", readOnly: true }]);
  const execs: number[] = [];
  // One as ours is one: several in a row each find warm what the one before has used.
  const floors = { one: [] as number[], row: [] as number[] };
  for (let n = 0; n < 50; n++) {
    const trip = await rawRoundTrip(machine.connection);
    floors.one.push(2 * await rawExec(machine.connection, 1) + trip);
    floors.row.push(2 * await rawExec(machine.connection, 5) + trip);
    execs.push(await timed(async () => await box.exec("true")));
  }
  const many: number[] = [];
  const busy: number[] = [];
  for (let run = 0; run < Math.min(runs, 5); run++) {
    const before = await processorTimes(box);
    many.push(
      await timed(() =>
        Promise.all(Array.from({ length: MANY }, async () => await box.exec("true")))
      ),
    );
    const after = await processorTimes(box);
    busy.push((after.busy - before.busy) / (after.all - before.all));
  }
  const share = Math.round(median(busy) * 100);
  return [
    figure({
      name: `${engine}: exec of true`,
      ours: execs,
      floors: floors.one,
      floorName: "2 x fork, exec and wait of true in the raw guest + raw round trip",
      unit: "ms",
      target: { atMost: 1 },
    }),
    figure({
      name: `${engine}:   the same`,
      ours: execs,
      floors: floors.row,
      floorName: "the same by five of them in a row",
      unit: "ms",
    }),
    figure({
      name: `${engine}: ${MANY} x true one after the other, by a single one`,
      ours: execs.map((ms) => ms * MANY),
      floors: many,
      // Where the guest's processor is busy throughout, no order of things could be faster.
      floorName: `${MANY} at once, the guest's processor ${share}% busy${
        share >= BUSY ? ": its bound" : ""
      }`,
      unit: "ms",
      ...share >= BUSY ? {} : { target: { atLeast: 10 } },
    }),
  ];
}

/** Time to a new box's first prompt on a terminal, in turn with that to its first result. */
async function prompts({ runtime, engine, bare, runs }: BootSetting): Promise<Figure[]> {
  const options = { image: "builtin:busybox", engine, memory: bare.memoryMiB };
  const first: number[] = [];
  const results: number[] = [];
  const made = async (until: (box: Box) => Promise<unknown>) => {
    const from = performance.now();
    await using box = await runtime.create(options);
    await until(box);
    return performance.now() - from;
  };
  for (let run = 0; run < runs; run++) {
    first.push(await made(firstPrompt));
    results.push(await made(async (box) => await box.exec("true")));
  }
  return [
    figure({
      name: `${engine}: create to first prompt on a terminal`,
      ours: first,
      floors: results,
      floorName: "create to first result",
      unit: "ms",
      target: { atMost: 1.05 },
    }),
  ];
}

async function firstPrompt(box: Box): Promise<void> {
  const shell = box.exec("sh", [], { tty: true, stdin: "piped", env: { PS1: "ready# " } });
  let shown = "";
  for await (const chunk of shell.stdout.pipeThrough(new TextDecoderStream())) {
    shown += chunk;
    if (shown.includes("ready# ")) return;
  }
}

/** What the guest's processors have done, in its own ticks. */
async function processorTimes(box: Box): Promise<{ busy: number; all: number }> {
  const { stdout } = await box.exec("head", ["-n1", "/proc/stat"]);
  const ticks = stdout.trim().split(/\s+/).slice(1, 9).map(Number);
  const all = ticks.reduce((sum, each) => sum + each, 0);
  const [, , , idle = 0, waiting = 0] = ticks;
  return { busy: all - idle - waiting, all };
}
