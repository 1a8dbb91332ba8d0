/**
 * What a box uses and has done.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import type { Tallies, Tally } from "../state/counters.ts";
import { type NetworkCounters, networkCounters } from "../network/control.ts";
import { processMemory, processStat, processTree } from "../proc.ts";
import { isAlive } from "../vmm/machine.ts";
import type { BoxContext } from "./context.ts";
import { type GuestMetrics, guestMetrics } from "./guest_metrics.ts";
import type { BoxStatus } from "./options.ts";

/** What is counted of boxes, across programs. */
export interface CounterReader {
  /** Tallies of a box, or of all of the home. */
  tallies(box?: string): Tallies;
  /** Commands that run now. */
  runningExecs(box?: string): number;
}

/** How long something took, in `ms`, and how often. */
export interface Timing {
  readonly count: number;
  readonly minMs: number;
  readonly meanMs: number;
  readonly maxMs: number;
  readonly lastMs: number;
}

/** Commands. */
export interface ExecCounts {
  readonly started: number;
  /** Those of programs that live. */
  readonly running: number;
  /** Ended with another code than 0, or by a signal. */
  readonly nonzero: number;
  /** Couldn't be started, or their box was lost. */
  readonly failed: number;
}

/** Processor time of a box: of its box process and what that started. */
export interface CpuUse {
  /** Since its machine was started, in `ms`. */
  readonly timeMs: number;
  /**
   * Of one processor since the metrics before these that the same `Box` gave, or since its start:
   * two busy ones make 200.
   */
  readonly percent: number;
}

/** Memory on the host: of the box process and what that started. Sizes are in bytes. */
export interface MemoryUse {
  /** What the guest was given. */
  readonly limitBytes: number;
  /** In memory now, what it shares with others by its share. */
  readonly residentBytes: number;
  /** What of that nobody else has: free again when the box ends. */
  readonly privateBytes: number;
  /** What of that is the guest's memory; null where the engine doesn't show. The rest is overhead. */
  readonly guestBytes: number | null;
}

/** The box's own disk, without the image below it. Sizes are in bytes. */
export interface DiskUse {
  /** What it takes on the host. */
  readonly allocatedBytes: number;
  /** What the guest sees. */
  readonly sizeBytes: number;
}

/** What a box uses now and has done so far; plain JSON. */
export interface BoxMetrics {
  readonly id: string;
  readonly name: string;
  readonly status: BoxStatus;
  /** ISO 8601. */
  readonly at: string;
  readonly cpu: CpuUse | null;
  readonly memory: MemoryUse | null;
  readonly disk: DiskUse | null;
  /** What the guest says of itself; null unless it runs. */
  readonly guest: GuestMetrics | null;
  /** Since its start. */
  readonly network: NetworkCounters | null;
  /** Why a part is null. */
  readonly unavailable: Readonly<
    Partial<Record<"cpu" | "memory" | "disk" | "guest" | "network", string>>
  >;
  readonly execs: ExecCounts;
  readonly starts: {
    readonly succeeded: number;
    readonly failed: number;
    /** Whole time of the last one that succeeded, in `ms`; null if none did. */
    readonly lastMs: number | null;
    /** Time of each stage of the last start, in `ms`. */
    readonly stages: Readonly<Record<string, number>>;
  };
}

/** Processor time at one moment. */
export interface CpuSample {
  /** The box process it was of. */
  readonly pid: number;
  readonly timeMs: number;
  /** On the clock of `performance.now()`. */
  readonly atMs: number;
}

const NO_NETWORK = "the box has its loopback alone, which its host doesn't see";

/** Looks at a box; `before` is what the last look saw of its processor time. */
export async function boxMetrics(
  { paths, counters }: BoxContext,
  { config, state }: BoxRecord,
  before: CpuSample | undefined,
): Promise<{ readonly metrics: BoxMetrics; readonly sample: CpuSample | undefined }> {
  const own = boxPaths(paths, config.id);
  const pid = isAlive(own.lockPath) ? state.pid : null;
  const tree = pid === null ? [] : processTree(pid);
  const sample = pid === null ? undefined : sampleOf(pid, tree);
  const memory = memoryOf(tree, config.memoryMiB * 2 ** 20);
  // Its number may be somebody else's by now.
  const live = pid !== null && isAlive(own.lockPath);
  const disk = await diskOf(own.diskPath, config.diskMiB * 2 ** 20);
  const traffic = live && config.network.mode !== "none"
    ? await networkCounters(own.networkControlPath).catch(errorText)
    : undefined;
  const counted = typeof traffic === "object" ? traffic : null;
  const guest = live ? await guestOf(own.socketPath, state.status) : `the box is ${state.status}`;
  const tallies = counters.tallies(config.id);
  const why = pid === null ? `the box is ${state.status}` : "its processes can't be looked at";
  const metrics: BoxMetrics = {
    id: config.id,
    name: config.name,
    status: state.status,
    at: new Date().toISOString(),
    cpu: live && sample ? { timeMs: sample.timeMs, percent: percentOf(sample, before) } : null,
    memory: live && memory ? memory : null,
    disk,
    guest: typeof guest === "string" ? null : guest,
    network: counted,
    unavailable: {
      ...(live && sample ? {} : { cpu: why }),
      ...(live && memory ? {} : { memory: why }),
      ...(disk ? {} : { disk: "the box has none yet" }),
      ...(typeof guest === "string" ? { guest } : {}),
      ...(counted ? {} : { network: uncounted(traffic, live ? NO_NETWORK : why) }),
    },
    execs: execsOf(tallies, counters.runningExecs(config.id)),
    starts: {
      succeeded: countOf(tallies, "box.started"),
      failed: countOf(tallies, "box.failed"),
      lastMs: tallies.get("box.started")?.last ?? null,
      stages: state.stages,
    },
  };
  return { metrics, sample: live ? sample : undefined };
}

function uncounted(traffic: NetworkCounters | string | undefined, why: string): string {
  return typeof traffic === "string" ? traffic : why;
}

/** What the guest says, or why it doesn't. */
async function guestOf(socketPath: string, status: BoxStatus): Promise<GuestMetrics | string> {
  if (status !== "running") return `the box is ${status}`;
  try {
    return await guestMetrics(socketPath);
  } catch (error) {
    return errorText(error);
  }
}

function sampleOf(pid: number, tree: readonly number[]): CpuSample | undefined {
  const atMs = performance.now();
  const stats = tree.map(processStat).filter((stat) => stat !== undefined);
  if (stats.length === 0) return undefined;
  return { pid, atMs, timeMs: stats.reduce((sum, { cpuMs }) => sum + cpuMs, 0) };
}

function percentOf(now: CpuSample, before: CpuSample | undefined): number {
  const since = before?.pid === now.pid ? before : undefined;
  const started = processStat(now.pid);
  const elapsed = since ? now.atMs - since.atMs : started?.ageMs ?? 0;
  // What a child that has just ended had used may be missing for a moment.
  const used = Math.max(0, now.timeMs - (since?.timeMs ?? 0));
  return elapsed > 0 ? Math.round(used / elapsed * 1000) / 10 : 0;
}

function memoryOf(tree: readonly number[], limitBytes: number): MemoryUse | undefined {
  const parts = tree.map((pid) => processMemory(pid, limitBytes))
    .filter((part) => part !== undefined);
  if (parts.length === 0) return undefined;
  const guest = parts.map(({ mappedBytes }) => mappedBytes).filter((part) => part !== undefined);
  return {
    limitBytes,
    residentBytes: sum(parts.map(({ residentBytes }) => residentBytes)),
    privateBytes: sum(parts.map(({ privateBytes }) => privateBytes)),
    guestBytes: guest.length > 0 ? sum(guest) : null,
  };
}

async function diskOf(path: string, sizeBytes: number): Promise<DiskUse | null> {
  try {
    const { blocks, size } = await Deno.stat(path);
    return { allocatedBytes: blocks === null ? size : blocks * 512, sizeBytes };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Commands as they were tallied. */
export function execsOf(tallies: Tallies, running: number): ExecCounts {
  return {
    started: countOf(tallies, "exec.started"),
    running,
    nonzero: countOf(tallies, "exec.exited:nonzero"),
    failed: countOf(tallies, "exec.exited:error"),
  };
}

/** How often something happened. */
export function countOf(tallies: Tallies, name: string): number {
  return tallies.get(name)?.count ?? 0;
}

/** How long something took; null if it never happened. */
export function timingOf(tally: Tally | undefined): Timing | null {
  if (!tally || tally.least === null || tally.most === null || tally.last === null) return null;
  return {
    count: tally.count,
    minMs: tally.least,
    meanMs: Math.round(tally.sum / tally.count * 10) / 10,
    maxMs: tally.most,
    lastMs: tally.last,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
