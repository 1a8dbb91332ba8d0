/**
 * How a pull goes: a bar per layer on a terminal, plain lines elsewhere.
 *
 * @module
 */
import type { PullEvent, PullListener } from "../images/pull/pull.ts";
import { formatBytes } from "./format.ts";
import { type ByteSink, type CliIo, print } from "./io.ts";
import { frameOf, type TerminalSize } from "./progress_frame.ts";
import { type ProgressFlags, type ProgressMode, progressMode } from "./progress_mode.ts";
import { PlainLines } from "./progress_plain.ts";
import { PullState } from "./progress_state.ts";
import type { TerminalView } from "./progress_terminal.ts";

/** Time between two drawings, in `ms`; a pull that takes less shows its outcome alone. */
const FRAME_MS = 120;

/** What progress is shown with; tests replace it. */
export interface ProgressOptions {
  /** Asked at each drawing. @default {the terminal's} */
  readonly size?: () => TerminalSize;
  /** Clock in `ms`. @default {performance.now} */
  readonly now?: () => number;
  /**
   * Calls `draw` every `ms`, and at each change of the terminal's size, until the result is disposed
   * of. @default {a timer}
   */
  readonly every?: (ms: number, draw: () => void) => Disposable;
}

/**
 * Shows what pulls tell, one after the other, until it is closed. Never throws: progress that can't
 * be shown is no reason to fail.
 */
export class PullProgress {
  readonly #sink: ByteSink;
  readonly #mode: ProgressMode;
  readonly #size: () => TerminalSize;
  readonly #now: () => number;
  readonly #every: NonNullable<ProgressOptions["every"]>;
  readonly #outcomes: string[] = [];
  #state = new PullState();
  #lines = new PlainLines();
  #view: Promise<TerminalView | undefined> | undefined;
  #shown: TerminalView | undefined;
  #timer: Disposable | undefined;
  /** All writing, one after the other. */
  #written: Promise<void> = Promise.resolve();
  #closed: Promise<void> | undefined;

  /** Writes to `sink`. */
  constructor(sink: ByteSink, mode: ProgressMode, options: ProgressOptions = {}) {
    this.#sink = sink;
    this.#mode = mode;
    this.#size = options.size ?? terminalSize;
    this.#now = options.now ?? (() => performance.now());
    this.#every = options.every ?? everyFrame;
  }

  /** Takes an event. */
  readonly on: PullListener = (event: PullEvent): void => {
    if (this.#closed || this.#mode === "none") return;
    if (event.type === "resolving") {
      this.#state = new PullState();
      this.#lines = new PlainLines();
    }
    const now = this.#now();
    this.#state.take(event, now);
    if (event.type === "done") this.#outcomes.push(`${outcomeOf(this.#state, now)}\n`);
    if (this.#mode === "tty") {
      this.#timer ??= this.#every(FRAME_MS, () => this.#draw());
      return;
    }
    const line = this.#lines.on(event, this.#state, now);
    if (line !== undefined) this.#print(`${line}\n`);
    this.#print(this.#outcomes.splice(0).join(""));
  };

  /** Takes bars away, tells the outcomes of pulls that ended well, and waits until all is written. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#timer?.[Symbol.dispose]();
    const view = await this.#view;
    const outcomes = this.#outcomes.splice(0).join("");
    if (view) await view.close(outcomes);
    else this.#print(outcomes);
    await this.#written;
  }

  /** Loads what draws at the first call, so that short pulls don't pay for it. */
  #draw(): void {
    this.#view ??= import("./progress_terminal.ts")
      .then(({ TerminalView }) => TerminalView.open(this.#sink, this.#size))
      .then((view) => this.#shown = view, () => undefined);
    // A terminal that is slow, or was stopped, gets what is current when it takes something again.
    if (!this.#shown || this.#closed || this.#shown.isBusy) return;
    this.#shown.draw(frameOf(this.#state, this.#size(), this.#now()));
  }

  #print(text: string): void {
    if (text === "") return;
    this.#written = this.#written.then(() => print(this.#sink, text)).catch(() => {});
  }
}

/** What a pull came to, in one line. */
function outcomeOf(state: PullState, now: number): string {
  const { name, meter, disk, hasWaited, diskWaited } = state;
  const [fetched, all] = [formatBytes(meter.bytes), formatBytes(state.bytes)];
  const what = meter.bytes > 0
    ? `fetched ${fetched === all ? all : `${fetched} of ${all}`}`
    : hasWaited
    ? "another program fetched it"
    : disk
    ? "made the base disk"
    : diskWaited
    ? "another program made the base disk"
    : "nothing new";
  return `${name}: ${what}, in ${Math.round(state.elapsed(now) / 100) / 10} s`;
}

/**
 * Runs something that may pull, and shows on standard error how that goes.
 *
 * @param work Gets the listener that pulls tell.
 */
export async function withProgress<T>(
  io: CliIo,
  { elsewhere = "plain", ...flags }: ProgressFlags & { readonly elsewhere?: "plain" | "none" },
  work: (on: PullListener) => Promise<T>,
): Promise<T> {
  const { stderr } = io;
  const env = (name: string) => Deno.env.get(name);
  const progress = new PullProgress(stderr, progressMode(flags, { sink: stderr, env, elsewhere }));
  try {
    return await work(progress.on);
  } finally {
    await progress.close();
  }
}

function terminalSize(): TerminalSize {
  try {
    const { columns, rows } = Deno.consoleSize();
    // Serial lines don't know their size and say 0.
    return { columns: columns || 80, rows: rows || 24 };
  } catch {
    return { columns: 80, rows: 24 };
  }
}

function everyFrame(ms: number, draw: () => void): Disposable {
  const timer = setInterval(draw, ms);
  Deno.addSignalListener("SIGWINCH", draw);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      Deno.removeSignalListener("SIGWINCH", draw);
    },
  };
}
