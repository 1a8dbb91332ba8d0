/**
 * `hutch top`.
 *
 * @module
 */
import type { BoxMetrics } from "../box/metrics.ts";
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, formatTable } from "./format.ts";
import { type ByteSource, print } from "./io.ts";
import { RawTerminal } from "./raw_terminal.ts";
import { relaySignals, withRuntime } from "./session.ts";
import { pause } from "./signals.ts";
import type { Stats } from "./json.ts";
import { statsOf, watch } from "./stats.ts";

interface Flags {
  readonly all?: boolean;
}

/** Time from one look at the processors to the next, in `ms`. */
const SAMPLE_MS = 500;

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options]").option("-a, --all", "boxes that don't run, too");
}

/** Shows what boxes use, the busiest first: live on a terminal until `q` or Ctrl-C, once elsewhere. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, io } = invocation;
  const all = command.opts<Flags>().all === true;
  return await withRuntime(invocation, async (runtime) => {
    using signals = relaySignals(io);
    const look = () => statsOf(runtime, [], all);
    if (!io.stdout.isTerminal()) {
      if ((await look()).boxes.some(({ cpu }) => cpu !== null)) {
        await pause(SAMPLE_MS, signals.signal);
      }
      signals.throwIfInterrupted();
      await print(io.stdout, formatTop(await look(), Infinity));
      return 0;
    }
    const quit = new AbortController();
    using _keys = untilQ(io.stdin, quit);
    await watch(io.stdout, {
      look,
      format: formatTop,
      signal: AbortSignal.any([signals.signal, quit.signal]),
      size: () => Deno.consoleSize(),
    });
    if (!quit.signal.aborted) signals.throwUnlessCtrlC();
    return 0;
  });
}

/** Takes each key at once, where keys come from a terminal; Ctrl-C stays a signal. */
function untilQ(stdin: ByteSource, quit: AbortController): Disposable | undefined {
  if (stdin.isTerminal?.() !== true) return undefined;
  const terminal = new RawTerminal({
    setRaw: (raw) => Deno.stdin.setRaw(raw, { cbreak: raw }),
    continued: () => {},
  });
  void readKeys(stdin, quit);
  return terminal;
}

async function readKeys(stdin: ByteSource, quit: AbortController): Promise<void> {
  const keys = new Uint8Array(64);
  try {
    for (let count; (count = await stdin.read(keys)) !== null;) {
      if (/q/i.test(new TextDecoder().decode(keys.subarray(0, count)))) return quit.abort();
    }
  } catch {
    // No keys then: Ctrl-C is left.
  }
}

interface Column {
  readonly title: string;
  readonly cell: (box: BoxMetrics) => string;
}

const UNKNOWN = "-";

/** The most important first: a narrow terminal gets those that fit. */
const COLUMNS: readonly Column[] = [
  { title: "NAME", cell: ({ name }) => name },
  { title: "CPU", cell: ({ cpu }) => cpu ? `${cpu.percent.toFixed(1)}%` : UNKNOWN },
  {
    title: "MEMORY",
    cell: ({ memory }) => memory ? formatBytes(memory.residentBytes) : UNKNOWN,
  },
  { title: "STATE", cell: ({ status }) => status },
  { title: "RECEIVED", cell: (box) => bytesOf(box, "receivedBytes") },
  { title: "SENT", cell: (box) => bytesOf(box, "sentBytes") },
  {
    title: "LIMIT",
    cell: ({ memory }) => memory ? formatBytes(memory.limitBytes) : UNKNOWN,
  },
  { title: "RUNNING", cell: ({ execs }) => String(execs.running) },
  { title: "ID", cell: ({ id }) => id },
];

/** The table in at most `columns` characters, down to the first three columns. */
export function formatTop({ boxes }: Stats, columns: number): string {
  const sorted = boxes.toSorted((a, b) => (b.cpu?.percent ?? -1) - (a.cpu?.percent ?? -1));
  for (let count = COLUMNS.length;; count--) {
    const shown = COLUMNS.slice(0, count);
    const table = formatTable(
      shown.map(({ title }) => title),
      sorted.map((box) => shown.map(({ cell }) => cell(box))),
    );
    const width = Math.max(...table.split("\n").map((line) => [...line].length));
    if (width < columns || count <= 3) return table;
  }
}

/** As this machine counts them, not the guest. */
function bytesOf({ network }: BoxMetrics, direction: "receivedBytes" | "sentBytes"): string {
  return network ? formatBytes(network[direction]) : UNKNOWN;
}
