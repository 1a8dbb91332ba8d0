/**
 * Reading a box's log, as it is and as it grows. The box process writes it; whoever reads it looks
 * at the files, whether or not the box runs.
 *
 * @module
 */
import { join } from "node:path";
import { HutchError } from "../errors.ts";
import { sleep } from "../images/wait.ts";
import {
  logFileName,
  type LogLine,
  logNumbers,
  type LogStream,
  parseLogLine,
} from "../vmm/log_files.ts";

/** Options of `Box.logs`. */
export interface LogsOptions {
  /** `main`, a detached execution's id, `console`, or some of them. @default {all} */
  readonly source?: string | readonly string[];
  /** Only what came then or later. */
  readonly since?: Date;
  /** Only what came then or before. */
  readonly until?: Date;
  /** Of what is there, only so many lines: the newest. */
  readonly tail?: number;
  /**
   * Whether to go on with what comes: `true` until `signal` aborts or the box is removed, through any
   * number of starts; `"run"` until the box has ended and its policy won't start it again.
   * @default {false}
   */
  readonly follow?: boolean | "run";
  /** Ends the reading, without an error. */
  readonly signal?: AbortSignal;
}

/** A line of the log with its newline, or a part of one, as the box printed it. */
export interface LogEntry {
  /**
   * When the box process got it. It looks at the console twice a second: so late it may be there. The
   * last moment of a machine that crashed may be missing; the file `console.log` has it.
   */
  readonly time: Date;
  /** `main`, a detached execution's id, or `console`. */
  readonly source: string;
  readonly stream: LogStream;
  /** As UTF-8; what isn't is replaced. */
  readonly text: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** What tells a reader how the box is. */
export interface LogPort {
  readonly folder: string;
  /** Whether nothing more comes: the box is gone, or (`run`) has ended for good. */
  readonly over: (follow: true | "run") => Promise<boolean>;
}

/** Between two looks for more, in `ms`. */
const LOOK_MS = 100;
const CHUNK = 64 * 1024;

/** The entries that the options ask for. */
export async function* readLogs(
  { folder, over }: LogPort,
  options: LogsOptions,
): AsyncGenerator<LogEntry, void> {
  const { since, until, tail, follow = false, signal = new AbortController().signal } = options;
  if (tail !== undefined && !(Number.isSafeInteger(tail) && tail >= 0)) {
    throw new HutchError("invalid_option", `Cannot show ${tail} lines: it isn't a number from 0`);
  }
  let last: LastLines | undefined = tail === undefined ? undefined : new LastLines(tail);
  let ended = false;
  const more = async () => {
    if (ended || !follow || signal.aborted) return false;
    await sleep(LOOK_MS, signal).catch(() => {});
    ended = signal.aborted || (until !== undefined && Date.now() > until.getTime()) ||
      await over(follow);
    return true;
  };
  for await (const line of linesOf(folder, more, signal)) {
    if (line === "end") {
      if (last) yield* last.entries();
      last = undefined;
      continue;
    }
    const time = new Date(line.time);
    if (!isWanted(options.source, line.source) || (since && time < since)) continue;
    if (until && time > until) continue;
    for (const entry of entriesOf(line, time)) {
      if (last) last.add(entry);
      else yield entry;
    }
  }
}

/** Lines in their order, with `"end"` when the end was reached for the first time. */
async function* linesOf(
  folder: string,
  more: () => Promise<boolean>,
  signal: AbortSignal,
): AsyncGenerator<LogLine | "end", void> {
  let number = 0;
  let told = false;
  while (!signal.aborted) {
    const next = logNumbers(folder).find((each) => each > number);
    if (next === undefined) {
      if (!told) yield "end";
      told = true;
      if (!await more()) return;
      continue;
    }
    number = next;
    using file = await openIfThere(join(folder, logFileName(next)));
    if (!file) continue; // it was the oldest one, a moment ago
    const splitter = new LineSplitter();
    for (let over = false; !over && !signal.aborted;) {
      // Looked for before reading: what is written after it goes to the next file.
      over = logNumbers(folder).some((each) => each > next);
      const buffer = new Uint8Array(CHUNK);
      for (let n; !signal.aborted && (n = await file.read(buffer)) !== null;) {
        yield* splitter.lines(buffer.subarray(0, n));
      }
      if (over) break;
      if (!told && !logNumbers(folder).some((each) => each > next)) {
        told = true;
        yield "end";
      }
      if (logNumbers(folder).some((each) => each > next)) continue;
      if (!await more()) return;
    }
  }
}

/** Puts lines together that were read in parts. */
class LineSplitter {
  readonly #decoder = new TextDecoder();
  #rest = "";

  *lines(bytes: Uint8Array): Generator<LogLine, void> {
    const parts = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = parts.pop() ?? "";
    for (const part of parts) {
      const line = parseLogLine(part);
      if (line) yield line;
    }
  }
}

/** The newest lines; one that came in parts is one. */
class LastLines {
  readonly #most: number;
  readonly #lines: LogEntry[][] = [];
  readonly #open = new Map<string, LogEntry[]>();

  constructor(most: number) {
    this.#most = most;
  }

  add(entry: LogEntry): void {
    const key = `${entry.stream} ${entry.source}`;
    const begun = this.#open.get(key);
    if (begun) begun.push(entry);
    else {
      const line = [entry];
      this.#lines.push(line);
      this.#open.set(key, line);
      if (this.#lines.length > this.#most) this.#lines.shift();
    }
    if (entry.text.endsWith("\n")) this.#open.delete(key);
  }

  *entries(): Generator<LogEntry, void> {
    for (const line of this.#lines) yield* line;
  }
}

function* entriesOf(line: LogLine, time: Date): Generator<LogEntry, void> {
  const { source, stream } = line;
  const whole = line.base64 === undefined
    ? new TextEncoder().encode(
      line.text ?? `[hutch: ${line.lost} bytes could not be written down here]\n`,
    )
    : Uint8Array.fromBase64(line.base64);
  for (let at = 0; at < whole.length;) {
    const end = whole.indexOf(0x0a, at);
    const bytes = whole.subarray(at, end < 0 ? whole.length : end + 1);
    yield { time, source, stream, text: new TextDecoder().decode(bytes), bytes };
    at += bytes.length;
  }
}

function isWanted(wanted: LogsOptions["source"], source: string): boolean {
  return wanted === undefined || [wanted].flat().includes(source);
}

async function openIfThere(path: string): Promise<Deno.FsFile | undefined> {
  try {
    return await Deno.open(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
