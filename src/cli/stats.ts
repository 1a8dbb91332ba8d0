/**
 * `hutch stats`.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { TerminalSize } from "../box/exec_options.ts";
import type { BoxMetrics } from "../box/metrics.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { RuntimeMetrics } from "../runtime/metrics.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, formatTable } from "./format.ts";
import { type ByteSink, print } from "./io.ts";
import { printJson, type Stats } from "./json.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";
import { pause } from "./signals.ts";

interface Flags {
  readonly all?: boolean;
  readonly json?: boolean;
  readonly stream?: boolean;
}

/** Time from one look at the processors to the next, in `ms`: without a terminal there are two. */
const [REFRESH_MS, SAMPLE_MS] = [1_000, 500];

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] [BOX...]")
    .argument("[BOX...]", "names, ids or unique beginnings of ids (default: boxes that run)")
    .option("-a, --all", "boxes that don't run, too")
    .option("--no-stream", "one look, also on a terminal")
    .option("--json", "one look, as JSON, with the counters of the whole home");
}

/** Prints a table: again each second on a terminal until Ctrl-C, once elsewhere. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args, io } = invocation;
  const flags = command.opts<Flags>();
  return await withRuntime(invocation, async (runtime) => {
    using signals = relaySignals(io);
    const { signal } = signals;
    for (const word of args) await getBox(runtime, word); // says that one isn't there
    const look = () => statsOf(runtime, args, flags.all === true);
    if (io.stdout.isTerminal() && flags.stream !== false && !flags.json) {
      await watch(io.stdout, { look, signal, size: () => Deno.consoleSize() });
      signals.throwUnlessCtrlC();
      return 0;
    }
    const first = await look();
    if (first.boxes.some(({ cpu }) => cpu !== null)) await pause(SAMPLE_MS, signal);
    signals.throwIfInterrupted();
    const stats = await look();
    if (flags.json) await printJson(io.stdout, "stats", stats);
    else await print(io.stdout, formatStats(stats));
    return 0;
  });
}

/** What boxes use: those that are named, else all that run (or all). */
export async function statsOf(
  runtime: Runtime,
  words: readonly string[],
  all: boolean,
): Promise<Stats> {
  const listed = words.length > 0 ? words : (await runtime.list({ all })).map(({ id }) => id);
  const boxes: BoxMetrics[] = [];
  for (const word of new Set(listed)) {
    const metrics = await metricsOf(() => runtime.get(word));
    if (metrics) boxes.push(metrics);
  }
  return { boxes, runtime: await runtime.metrics() };
}

/** A box may go while it is looked at. */
async function metricsOf(get: () => Promise<Box>): Promise<BoxMetrics | undefined> {
  try {
    return await (await get()).metrics();
  } catch (error) {
    if (error instanceof HutchError && error.code === "box_not_found") return undefined;
    throw error;
  }
}

/** Writes the table over itself until `signal` says so. */
export async function watch(
  sink: ByteSink,
  { look, format = formatStats, signal, size, refreshMs = REFRESH_MS }: {
    readonly look: () => Promise<Stats>;
    /** @default {formatStats} */
    readonly format?: (stats: Stats, columns: number) => string;
    readonly signal: AbortSignal;
    /** A terminal that says 0 has 80 columns and 24 rows. */
    readonly size: () => TerminalSize;
    /** @default {1000} */
    readonly refreshMs?: number;
  },
): Promise<void> {
  await print(sink, "\x1b[2J");
  while (!signal.aborted) {
    const { columns, rows } = known(size());
    const lines = format(await look(), columns).split("\n").slice(0, -1);
    // The last line and column stay free: writing there scrolls on some terminals.
    const shown = lines.slice(0, Math.max(rows - 1, 1))
      .map((line) => `${[...line].slice(0, Math.max(columns - 1, 1)).join("")}\x1b[K\n`);
    await print(sink, `\x1b[H${shown.join("")}\x1b[J`);
    await pause(refreshMs, signal);
  }
}

/** Serial lines don't know their size and say 0. */
function known(size: TerminalSize): TerminalSize {
  return size.columns > 0 && size.rows > 0 ? size : { columns: 80, rows: 24 };
}

/** The table, with two lines about the whole home below it. */
export function formatStats({ boxes, runtime }: Stats): string {
  const table = formatTable(
    ["ID", "NAME", "STATUS", "CPU", "CPU TIME", "MEMORY", "GUEST / LIMIT", "USED", "DISK / SIZE"]
      .concat([
        "RECEIVED / SENT",
        "PROCESSES",
        "COMMANDS",
        "RUNNING",
        "FAILED",
        "STARTS",
        "FAILED",
        "LAST START",
      ]),
    boxes.map(rowOf),
  );
  return `${table}\n${summaryOf(runtime)}`;
}

function rowOf(
  { id, name, status, cpu, memory, disk, network, guest, execs, starts }: BoxMetrics,
): string[] {
  const unknown = "-";
  const mapped = typeof memory?.guestBytes === "number" ? formatBytes(memory.guestBytes) : unknown;
  const inside = guest?.memory;
  const used = inside ? Math.max(0, inside.totalBytes - inside.availableBytes) : undefined;
  return [
    id,
    name,
    status,
    cpu ? `${cpu.percent.toFixed(1)}%` : unknown,
    cpu ? seconds(cpu.timeMs) : unknown,
    memory ? formatBytes(memory.residentBytes) : unknown,
    memory ? `${mapped} / ${formatBytes(memory.limitBytes)}` : unknown,
    used === undefined ? unknown : formatBytes(used),
    disk ? `${formatBytes(disk.allocatedBytes)} / ${formatBytes(disk.sizeBytes)}` : unknown,
    network ? `${formatBytes(network.receivedBytes)} / ${formatBytes(network.sentBytes)}` : unknown,
    guest?.processes ? String(guest.processes.count) : unknown,
    String(execs.started),
    String(execs.running),
    String(execs.failed),
    String(starts.succeeded),
    String(starts.failed),
    starts.lastMs === null ? unknown : seconds(starts.lastMs),
  ];
}

function summaryOf({ boxes, execs, boot }: RuntimeMetrics): string {
  const now = Object.entries(boxes.byStatus).map(([status, count]) => `${count} ${status}`);
  const { created, started, stopped, failed, crashed, removed } = boxes;
  const starts = boot
    ? `; a start took ${seconds(boot.minMs)} to ${seconds(boot.maxMs)}, ${
      seconds(boot.meanMs)
    } in the mean`
    : "";
  return `boxes: ${now.length > 0 ? now.join(", ") : "none"}; so far ${created} created, ` +
    `${started} started, ${stopped} stopped, ${crashed} crashed, ${removed} removed, ` +
    `${failed} starts failed\n` +
    `commands: ${execs.running} running; so far ${execs.started} started, ` +
    `${execs.failed} failed${starts}\n`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}
