/**
 * Figures of a benchmark, each beside a floor measured in the same run.
 *
 * @module
 */

/** One figure. */
export interface Figure {
  readonly name: string;
  /** Median of ours, in `unit`. */
  readonly value: number;
  /** Median of the floor, in `unit`; undefined where the target is absolute. */
  readonly floor?: number;
  /** What the floor is. */
  readonly floorName?: string;
  readonly unit: "ms" | "MiB/s" | "MiB" | "KiB" | "/s";
  /** `value / floor`, or `value` where there is no floor. */
  readonly ratio?: number;
  /** What was promised: the ratio (or the value, without a floor) is at most or at least this. */
  readonly target?: { readonly atMost: number } | { readonly atLeast: number };
  readonly met?: boolean;
  readonly runs: number;
}

/** The middle of the values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** Makes a figure from runs of ours and of the floor, made in turn. */
export function figure(
  options: Pick<Figure, "name" | "unit" | "floorName" | "target"> & {
    readonly ours: readonly number[];
    readonly floors?: readonly number[];
  },
): Figure {
  const { ours, floors, ...rest } = options;
  const value = median(ours);
  const floor = floors && median(floors);
  const ratio = floor === undefined ? undefined : value / floor;
  const judged = ratio ?? value;
  const { target } = options;
  return {
    ...rest,
    value: round(value),
    ...(floor === undefined ? {} : { floor: round(floor) }),
    ...(ratio === undefined ? {} : { ratio: round(ratio) }),
    ...(target === undefined
      ? {}
      : { met: "atMost" in target ? judged <= target.atMost : judged >= target.atLeast }),
    runs: ours.length,
  };
}

/** One line of the table. */
export function line(made: Figure): string {
  const { name, value, unit, floor, floorName, ratio, target, met } = made;
  const parts = [name.padEnd(44), `${value} ${unit}`.padStart(16)];
  if (floor !== undefined) parts.push(`  ${ratio} x ${floor} ${unit} (${floorName})`);
  if (target) {
    const bound = "atMost" in target ? `at most ${target.atMost}` : `at least ${target.atLeast}`;
    parts.push(`  target ${bound}: ${met ? "met" : "MISSED"}`);
  }
  return parts.join("");
}

/** Milliseconds that something takes. */
export async function timed(run: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await run();
  return performance.now() - from;
}

function round(value: number): number {
  return Number(value.toPrecision(4));
}
