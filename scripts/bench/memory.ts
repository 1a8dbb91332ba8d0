/**
 * What going on from kept memory takes, beside a boot of the same box.
 *
 * @module
 */
import type { Box } from "../../mod.ts";
import type { BootSetting } from "./boot.ts";
import { type Figure, figure, timed } from "./stats.ts";

const FORKS = 10;

/** Runs the benchmark; engines without it give no figures. */
export async function benchMemory({ runtime, engine, runs, bare }: BootSetting): Promise<Figure[]> {
  if (engine !== "qemu") return [];
  const options = { image: "builtin:busybox", engine, memory: bare.memoryMiB };
  await using warm = await runtime.create({ ...options, name: "bench-warm", autoRemove: true });
  await warm.exec("true");
  const { pausedMs, memoryBytes } = await warm.snapshots.create("ready", { memory: true });
  await warm.pause(); // it is to cost the others nothing
  const cold: number[] = [];
  const resumed: number[] = [];
  const many: number[] = [];
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
    cold.push(await timed(() => keep(first(() => runtime.create(options)))));
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
      name: `${engine}: a box stands still while its memory is kept`,
      ours: [pausedMs],
      unit: "ms",
    }),
    figure({ name: `${engine}:   its memory takes`, ours: [memoryBytes / 2 ** 20], unit: "MiB" }),
  ];
}
