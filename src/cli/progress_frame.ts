/**
 * What a terminal shows of a pull: one line per layer, and one for all of them.
 *
 * @module
 */
import { formatBytes, printable } from "./format.ts";
import type { Meter, Part, Phase, PullState } from "./progress_state.ts";

/** A terminal's size, in characters. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

const LABEL = 12;
const GAP = "  ";
const SIZES = 24;
const SPEED = 12;
const LEFT = 11;
const BAR = { least: 10, most: 42 };

/** What a line says in place of its speed, in full and in short. */
const PHASES: Readonly<Record<Phase, readonly [whole: string, short: string]>> = {
  queued: ["", ""],
  fetching: ["", ""],
  waiting: ["waits for another program", "waiting"],
  checking: ["checking", "checking"],
  cached: ["already here", "here"],
  fetched: ["fetched", "fetched"],
};

/**
 * The lines to show now: at most one less than the terminal has, for the cursor; none as wide as
 * the terminal, since some wrap when the last column is written.
 */
export function frameOf(state: PullState, size: TerminalSize, now: number): readonly string[] {
  const width = Math.max(size.columns - 1, 1);
  const room = Math.max(size.rows - 1, 0);
  const head = headOf(state);
  const { disk } = state;
  const rest = disk
    ? [barLine("base disk", { ...disk, ...meterOf(disk.meter, disk, now) }, width)]
    : layerLines(state, room - 1, width, now);
  // Where there is room for little, what stands last says most.
  return room === 0 ? [] : [head, ...rest].slice(-room).map((line) => line.slice(0, width));
}

function headOf({ name, digest, count, bytes, diskWaiting }: PullState): string {
  if (diskWaiting) return `${name}: another program is making the base disk`;
  if (digest === undefined) return name === "" ? "" : `${name}: looking it up`;
  return `${name}: ${count} layer${count === 1 ? "" : "s"}, ${formatBytes(bytes)}`;
}

/** Layers and their sum; those that something happens to come first where there isn't room. */
function layerLines(
  state: PullState,
  room: number,
  width: number,
  now: number,
): readonly string[] {
  if (state.layers.size === 0) return [];
  const total = state.total;
  const sum = barLine("total", { ...total, ...meterOf(state.meter, total, now) }, width);
  const all = [...state.layers.values()];
  // The last line but one tells what isn't shown.
  const places = all.length <= room - 1 ? all.length : Math.max(room - 2, 0);
  const shown = new Set(all.toSorted((a, b) => rank(a) - rank(b)).slice(0, places));
  const lines = all.filter((layer) => shown.has(layer)).map((layer) =>
    barLine(labelOf(layer.digest), { ...layer, ...meterOf(layer.meter, layer, now) }, width)
  );
  if (places === all.length || room < 2) return [...lines, sum];
  const hidden = all.filter((layer) => !shown.has(layer));
  const finished = hidden.filter(isFinished).length;
  const more = `${hidden.length} more layers, ${finished} of them done`;
  return [...lines, more, sum];
}

function rank(layer: Part): number {
  if (isFinished(layer)) return 2;
  return layer.phase === "queued" ? 1 : 0;
}

function isFinished({ phase }: Part): boolean {
  return phase === "cached" || phase === "fetched";
}

function labelOf(digest: string): string {
  return printable(digest.replace(/^sha256:/, "")).slice(0, LABEL);
}

/** What a bar's line says. Sizes are in bytes. */
interface Bar {
  readonly done: number;
  readonly total: number;
  readonly phase?: Phase;
  /** Bytes per second. */
  readonly rate: number | undefined;
  /** Text; empty where nobody knows. */
  readonly left: string;
}

function meterOf(
  meter: Meter,
  { done, total, phase }: { done: number; total: number; phase?: Phase },
  now: number,
): Pick<Bar, "rate" | "left"> {
  const going = phase === undefined || phase === "fetching" || phase === "queued";
  const rate = going && done < total && meter.bytes > 0 ? meter.rate(now) : undefined;
  return { rate, left: formatLeft(total - done, rate) };
}

/** Bar, sizes, speed and time left: as much of it as the width has room for. */
function barLine(label: string, part: Bar, width: number): string {
  const { done, total, phase, rate, left } = part;
  const [whole, short] = phase ? PHASES[phase] : ["", ""];
  const speed = rate === undefined ? "" : `${sizeText(rate)}/s`;
  const tails = [
    { width: SPEED + GAP.length + LEFT, text: whole || `${speed.padStart(SPEED)}${GAP}${left}` },
    { width: LEFT, text: short || left },
    { width: 0, text: "" },
  ];
  const sizes = `${sizeText(done).padStart(10)} of ${sizeText(total)}`.padEnd(SIZES);
  for (const tail of tails) {
    const fixed = LABEL + GAP.length * 2 + SIZES + (tail.width > 0 ? GAP.length + tail.width : 0);
    if (width - fixed < BAR.least) continue;
    const bar = barOf(part, Math.min(width - fixed, BAR.most));
    return [label.padEnd(LABEL), bar, sizes, tail.text].join(GAP).trimEnd();
  }
  const percent = `${Math.floor(share(part) * 100)}%`.padStart(4);
  const line = `${label.padEnd(LABEL)}${GAP}${percent}${GAP}${sizeText(done).padStart(10)}`;
  if (line.length <= width) return line;
  const room = width - percent.length - 1;
  return room <= 0 ? percent.trimStart() : `${label.slice(0, room)} ${percent}`;
}

function share({ done, total, phase }: Pick<Bar, "done" | "total" | "phase">): number {
  if (total === 0) return phase === "cached" || phase === "fetched" ? 1 : 0;
  return Math.min(Math.max(done / total, 0), 1);
}

/** Such as `[====>     ]`: characters that every terminal and font has. */
function barOf(part: Bar, width: number): string {
  const room = width - 2;
  const filled = Math.floor(share(part) * room);
  const head = filled > 0 && filled < room ? ">" : "";
  return `[${"=".repeat(filled - head.length)}${head}${" ".repeat(room - filled)}]`;
}

/** Always with a decimal, so that numbers that change keep their place. */
function sizeText(bytes: number): string {
  return formatBytes(Math.max(Math.round(bytes), 0)).replace(/^(\d+) (?!B)/, "$1.0 ");
}

/** How long `bytes` take at `rate` bytes per second, such as `3 min left`. */
export function formatLeft(bytes: number, rate: number | undefined): string {
  if (rate === undefined || rate <= 0 || bytes <= 0) return "";
  const seconds = Math.max(Math.ceil(bytes / rate), 1);
  if (seconds < 100) return `${seconds} s left`;
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 100) return `${minutes} min left`;
  const hours = Math.ceil(minutes / 60);
  return hours < 100 ? `${hours} h left` : "";
}
