/**
 * What going on from kept memory takes, beside a boot of the same box.
 *
 * @module
 */
import type { Box } from "../../mod.ts";
import { BareResume } from "./bare_resume.ts";
import type { BootSetting } from "./boot.ts";
import { type Figure, figure, timed } from "./stats.ts";

const FORKS = 10;

/** Runs the benchmark; engines without it give no figures. */
export async function benchMemory(
  { runtime, booting, engine, runs, bare }: BootSetting,
): Promise<Figure[]> {
  if (engine !== "qemu") return [];
  const options = { image: "builtin:busybox", engine, memory: bare.memoryMiB };
  await using warm = await booting.create({ ...options, name: "bench-warm", autoRemove: true });
  await warm.exec("true");
  const { id, pausedMs, memoryBytes } = await warm.snapshots.create("ready", { memory: true });
  const machines = await BareResume.of(runtime, warm.id, id);
  await warm.pause(); // it is to cost the others nothing
  const cold: number[] = [];
  const resumed: number[] = [];
  const many: number[] = [];
  /** Of as many machines without hutch, with an empty program for each or without. */
  const floors = { alone: new Array<number>(), beside: new Array<number>() };
  const processor: number[] = [];
  const first = async (make: () => Promise<Box>) => {
    const box = await make();
    await box.exec("true");
    return box;
  };
  for (let run = 0; run < runs; run++) {
    let boxes: Box[] = [];
    const keep = (made: Promise<Box>) => made.then((box) => void boxes.push(box));
    const clear = async () => {
      await Promise.all(boxes.map((box) => box.remove({ force: true })));
      boxes = [];
    };
    cold.push(await timed(() => keep(first(() => booting.create(options)))));
    await clear();
    const go = () => first(() => runtime.create({ from: "bench-warm/ready" }));
    resumed.push(await timed(() => keep(go())));
    await clear();
    many.push(
      await timed(async () => {
        await Promise.all(Array.from({ length: FORKS }, () => keep(go())));
      }),
    );
    await clear();
    const alone = await machines.run(FORKS, { beside: false });
    floors.alone.push(alone.elapsed);
    processor.push(alone.processor);
    floors.beside.push((await machines.run(FORKS, { beside: true })).elapsed);
  }
  return [
    figure({
      name: `${engine}: create to first result, from kept memory`,
      ours: resumed,
      floors: cold,
      floorName: "the same box, booted",
      unit: "ms",
      target: { atMost: 0.25 },
    }),
    figure({
      name: `${engine}: ${FORKS} boxes at once from one snapshot's memory`,
      ours: many,
      unit: "ms",
      target: { atMost: 1_500 },
    }),
    figure({
      name: `${engine}:   beside the same machines without hutch`,
      ours: many,
      floors: floors.alone,
      floorName: "bare QEMU to the agents' first word",
      unit: "ms",
    }),
    figure({
      name: `${engine}:   and with an empty Deno program for each`,
      ours: many,
      floors: floors.beside,
      floorName: "the same, and Deno's start",
      unit: "ms",
    }),
    figure({
      name: `${engine}:   processor time of the bare machines together`,
      ours: processor,
      unit: "ms",
    }),
    figure({
      name: `${engine}: a box stands still while its memory is kept`,
      ours: [pausedMs],
      unit: "ms",
    }),
    figure({ name: `${engine}:   its memory takes`, ours: [memoryBytes / 2 ** 20], unit: "MiB" }),
  ];
}
