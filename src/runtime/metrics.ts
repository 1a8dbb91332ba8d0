/**
 * What all of a home has done, by whatever programs.
 *
 * @module
 */
import {
  type CounterReader,
  countOf,
  type ExecCounts,
  execsOf,
  type Timing,
  timingOf,
} from "../box/metrics.ts";

/** What a home's boxes have done since it was made; plain JSON. Boxes that were removed count too. */
export interface RuntimeMetrics {
  /** ISO 8601. */
  readonly at: string;
  /** Its boxes, by what they do. */
  readonly boxes: {
    /** Boxes that there are, by what they do now; only states that some box is in. */
    readonly byStatus: Readonly<Record<string, number>>;
    readonly created: number;
    readonly started: number;
    readonly stopped: number;
    /** Starts that failed. */
    readonly failed: number;
    readonly crashed: number;
    readonly removed: number;
  };
  /** Commands of all its boxes, removed ones too. */
  readonly execs: ExecCounts;
  /** Whole starts that succeeded; null if there was none. */
  readonly boot: Timing | null;
  /** Each stage of starts, by its name. */
  readonly stages: Readonly<Record<string, Timing>>;
  /** What happened to images. */
  readonly images: { readonly pulled: number; readonly removed: number };
  /** Failures of plugins' hooks, listeners and clean-ups. */
  readonly pluginFailures: number;
  /** Events that couldn't be kept. */
  readonly eventsDropped: number;
}

const STAGE = "stage.finished:";

/** Adds it all up. */
export function runtimeMetrics(
  counters: CounterReader,
  byStatus: Readonly<Record<string, number>>,
): RuntimeMetrics {
  const tallies = counters.tallies();
  const stages: [string, Timing][] = [];
  for (const [name, tally] of tallies) {
    const timing = name.startsWith(STAGE) ? timingOf(tally) : null;
    if (timing) stages.push([name.slice(STAGE.length), timing]);
  }
  return {
    at: new Date().toISOString(),
    boxes: {
      byStatus,
      created: countOf(tallies, "box.created"),
      started: countOf(tallies, "box.started"),
      stopped: countOf(tallies, "box.stopped"),
      failed: countOf(tallies, "box.failed"),
      crashed: countOf(tallies, "box.crashed"),
      removed: countOf(tallies, "box.removed"),
    },
    execs: execsOf(tallies, counters.runningExecs()),
    boot: timingOf(tallies.get("box.started")),
    stages: Object.fromEntries(stages),
    images: {
      pulled: countOf(tallies, "image.pulled"),
      removed: countOf(tallies, "image.removed"),
    },
    pluginFailures: countOf(tallies, "plugin.failed"),
    eventsDropped: tallies.get("events.dropped")?.sum ?? 0,
  };
}
