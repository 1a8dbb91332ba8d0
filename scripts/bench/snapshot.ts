/**
 * What snapshots and clones cost: how long a box that writes stands still, and how long a clone takes.
 *
 * @module
 */
import type { BootSetting } from "./boot.ts";
import { type Figure, figure, timed } from "./stats.ts";

const CLONES = 100;

/** Runs the benchmark on one box that writes all the while, and on a clone that never ran. */
export async function benchSnapshot(setting: BootSetting): Promise<Figure[]> {
  const { runtime, engine, runs, bare } = setting;
  const options = { image: "builtin:busybox", engine, memory: bare.memoryMiB };
  await using box = await runtime.create(options);
  const load = "while :; do dd if=/dev/zero of=/load bs=64k count=64 conv=fsync 2>/dev/null; done";
  const paused: number[] = [];
  const frozen: number[] = [];
  {
    await using writer = box.exec("sh", ["-c", load]);
    await writer.started;
    for (let run = 0; run < runs; run++) {
      const { pausedMs, freezeMs } = await box.snapshots.create(`run-${run}`);
      paused.push(pausedMs);
      frozen.push(freezeMs);
    }
  }
  const [source] = await box.clone({ snapshot: "run-0" });
  if (!source) throw new Error("there is no clone");
  const one: number[] = [];
  const many: number[] = [];
  for (let run = 0; run < runs; run++) {
    one.push(await timed(async () => await source.clone()));
  }
  many.push(await timed(async () => await source.clone({ count: CLONES })));
  for (const { id } of await runtime.list({ all: true })) {
    if (id !== box.id) await (await runtime.get(id)).remove({ force: true });
  }
  return [
    figure({
      name: `${engine}: a box that writes stands still for a snapshot`,
      ours: paused,
      unit: "ms",
      target: { atMost: 50 },
    }),
    figure({
      name: `${engine}:   its file systems take to freeze before`,
      ours: frozen,
      unit: "ms",
    }),
    figure({
      name: `${engine}: a clone of a stopped box`,
      ours: one,
      unit: "ms",
      target: { atMost: 15 },
    }),
    figure({
      name: `${engine}: ${CLONES} clones of a stopped box`,
      ours: many,
      unit: "ms",
      target: { atMost: 1_000 },
    }),
  ];
}
