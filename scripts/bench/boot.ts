/**
 * Time from `create` to the first result, against the bare engine booting the same kernel to the
 * same agent; time of commands, and of stopping and removing.
 *
 * @module
 */
import { join } from "node:path";
import type { Box, MachineSpec, Runtime } from "../../mod.ts";
import { KERNEL_COMMAND_LINE } from "../../src/vmm/kernel.ts";
import { type RawMachine, startBareLibkrun, startBareQemu } from "./raw.ts";
import { type Figure, figure, timed } from "./stats.ts";

/** How long machines that ended get to be gone before the next one is timed, in `ms`. */
const REST_MS = 2_000;

/** What the boot benchmark runs on. */
export interface BootSetting {
  readonly runtime: Runtime;
  /** The same home, where machines boot and don't go on from a boot that was kept. */
  readonly booting: Runtime;
  /** `qemu` or `libkrun`. */
  readonly engine: string;
  readonly runs: number;
  /** A machine like the box's, for the floor; its parts come from the engine's probe. */
  readonly bare: Omit<MachineSpec, "disks" | "kernel">;
  readonly lab: boolean;
}

/** Runs the benchmark. */
export async function benchBoot(setting: BootSetting): Promise<Figure[]> {
  const { runtime, booting, engine, runs, lab } = setting;
  const ours: number[] = [];
  const booted: number[] = [];
  const floors: number[] = [];
  const bareKills: number[] = [];
  const stages: Record<string, number[]> = {};
  const stops: number[] = [];
  const keptStops: number[] = [];
  const kills: number[] = [];
  const execs: number[] = [];
  const options = { image: "builtin:busybox", engine, memory: setting.bare.memoryMiB };
  const first = async (
    of: Runtime,
    name: string,
    times: number[],
    { autoRemove = true }: { readonly autoRemove?: boolean } = {},
  ): Promise<Box> => {
    let box: Box | undefined;
    await rest();
    times.push(
      await timed(async () => {
        box = await of.create({ ...options, name, autoRemove });
        await box.exec("true");
      }),
    );
    if (!box) throw new Error("there is no box");
    return box;
  };
  const bareTurn = async () => {
    await rest();
    const bare = await bareBoot(setting);
    floors.push(bare.boot);
    bareKills.push(bare.kill);
  };
  const ownTurn = async (run: number) => {
    // By halves, and of each half some in both orders of turns.
    const autoRemove = run % 8 < 4;
    const box = await first(runtime, `bench-${run}`, ours, { autoRemove });
    for (const [stage, ms] of Object.entries((await box.info()).stages)) {
      (stages[stage] ??= []).push(ms);
    }
    for (let n = 0; n < 20; n++) execs.push(await timed(async () => await box.exec("true")));
    if (run % 4 > 1) kills.push(await timed(() => box.remove({ force: true })));
    else if (autoRemove) stops.push(await timed(() => box.stop()));
    else {
      keptStops.push(
        await timed(async () => {
          await box.stop();
          await box.remove();
        }),
      );
    }
  };
  const bootedTurn = async (run: number) => {
    const other = await first(booting, `booted-${run}`, booted);
    await other.remove({ force: true });
  };
  // No boot is kept on libkrun: all boxes boot by themselves.
  const turns = [bareTurn, ownTurn, ...engine === "libkrun" ? [] : [bootedTurn]];
  for (let run = 0; run < runs; run++) {
    // What comes first leaves memory behind that is quick to get.
    for (const turn of run % 2 === 0 ? turns : turns.toReversed()) await turn(run);
  }
  return [
    figure({
      name: `${engine}: create to first result`,
      ours,
      floors,
      floorName: `bare ${engine} to the same agent's hello`,
      unit: "ms",
      target: { atMost: 1.15 },
    }),
    ...booted.length === 0 ? [] : [figure({
      name: `${engine}:   the same of a box that boots by itself`,
      ours: booted,
      floors,
      floorName: "the same",
      unit: "ms",
    })],
    ...Object.entries(stages).map(([stage, times]) =>
      figure({ name: `${engine}:   stage ${stage}`, ours: times, unit: "ms" })
    ),
    figure({
      name: `${engine}: exec of true`,
      ours: execs,
      unit: "ms",
      ...(lab ? { target: { atMost: 5 } } : {}),
    }),
    figure({
      name: `${engine}: stop and remove`,
      ours: stops,
      unit: "ms",
      ...(lab ? { target: { atMost: 150 } } : {}),
    }),
    ...keptStops.length === 0 ? [] : [figure({
      name: `${engine}:   the same of a box that is kept, by two calls`,
      ours: keptStops,
      unit: "ms",
    })],
    figure({
      name: `${engine}: remove by force`,
      ours: kills,
      unit: "ms",
      ...(lab ? { target: { atMost: 60 } } : {}),
    }),
    figure({
      name: `${engine}:   the same`,
      ours: kills,
      floors: bareKills,
      floorName: "ending the bare engine",
      unit: "ms",
    }),
  ];
}

/** What ended before is to be gone: a large process takes a while. */
async function rest(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, REST_MS));
}

/** The same machine without hutch: time up to the agent's hello, and of ending it, in `ms`. */
async function bareBoot(setting: BootSetting): Promise<{ boot: number; kill: number }> {
  const from = performance.now();
  const machine = await startBare(setting, await sharedDisks(setting));
  const boot = performance.now() - from;
  return { boot, kill: await timed(async () => await machine[Symbol.asyncDispose]()) };
}

/** Starts the bare engine with some disks. */
export function startBare(
  setting: Pick<BootSetting, "runtime" | "engine" | "bare">,
  disks: MachineSpec["disks"],
): Promise<RawMachine> {
  const kernel = {
    path: find(join(setting.runtime.home, "system"), /^kernel-.*\.elf$/),
    commandLine: KERNEL_COMMAND_LINE,
  };
  const spec = { ...setting.bare, kernel, disks };
  return setting.engine === "libkrun" ? startBareLibkrun(spec) : startBareQemu(spec);
}

function sharedDisks({ runtime }: BootSetting): Promise<MachineSpec["disks"]> {
  return Promise.resolve([
    { path: find(join(runtime.home, "system"), /^system-/), format: "raw", readOnly: true },
    { path: find(join(runtime.home, "disks"), /\.ext4$/), format: "raw", readOnly: true },
  ]);
}

function find(folder: string, pattern: RegExp): string {
  for (const { name } of Deno.readDirSync(folder)) {
    if (pattern.test(name)) return join(folder, name);
  }
  throw new Error(`nothing like ${pattern} in ${folder}`);
}
