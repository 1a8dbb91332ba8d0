/**
 * A pull's progress: one line that is written over on a terminal, plain lines elsewhere.
 *
 * @module
 */
import type { PullEvent } from "../images/pull.ts";
import { formatBytes, printable, shortReference } from "./format.ts";
import { type ByteSink, print } from "./io.ts";

/** Shortest time between two updates of a terminal's line, in `ms`. */
const UPDATE_MS = 100;

/** What a progress line is shown on. */
export interface ProgressOptions {
  /** Columns of the terminal; undefined where it isn't one. */
  readonly columns: number | undefined;
  /** Clock in `ms`. @default {performance.now} */
  readonly now?: () => number;
}

/** Shows what a pull tells; end it with {@link PullProgress.close}. */
export class PullProgress {
  readonly #sink: ByteSink;
  readonly #columns: number | undefined;
  readonly #now: () => number;
  readonly #layers = new Map<string, { done: number; total: number }>();
  #written: Promise<void> = Promise.resolve();
  #name = "";
  #bytes = 0;
  #disk = false;
  #shown = false;
  #updatedAt = -Infinity;

  /** Writes to `sink`. */
  constructor(sink: ByteSink, options: ProgressOptions) {
    this.#sink = sink;
    this.#columns = options.columns;
    this.#now = options.now ?? (() => performance.now());
  }

  /** Takes an event; never throws. */
  readonly on = (event: PullEvent): void => {
    const line = this.#take(event);
    if (this.#columns === undefined) {
      if (line !== undefined) this.#write(`${line}\n`);
    } else {
      this.#update(this.#columns, event.type === "resolved");
    }
  };

  /** Takes the terminal's line away again and waits until everything is written. */
  async close(): Promise<void> {
    if (this.#shown) this.#write("\r\x1b[K");
    this.#shown = false;
    await this.#written;
  }

  /** Remembers an event, and gives its line if it is one of those that get one. */
  #take(event: PullEvent): string | undefined {
    switch (event.type) {
      case "resolving":
        this.#name = printable(shortReference(event.reference));
        return undefined;
      case "resolved": {
        this.#name = printable(shortReference(event.reference));
        this.#bytes = event.bytes;
        const layers = `${event.layers} layer${event.layers === 1 ? "" : "s"}`;
        return `${this.#name}: ${short(event.digest)}, ${layers}, ${formatBytes(event.bytes)}`;
      }
      case "layer":
        this.#layers.set(event.digest, { done: event.done, total: event.total });
        return undefined;
      case "layer.done": {
        const total = this.#layers.get(event.digest)?.total;
        if (total !== undefined) this.#layers.set(event.digest, { done: total, total });
        return `${short(event.digest)}: ${event.cached ? "already here" : "fetched"}`;
      }
      case "disk": {
        const first = !this.#disk;
        this.#disk = true;
        this.#layers.clear();
        this.#layers.set("disk", { done: event.done, total: event.total });
        return first ? `${this.#name || short(event.digest)}: making the base disk` : undefined;
      }
      case "done":
      case "disk.done":
        return undefined;
    }
  }

  #update(columns: number, now: boolean): void {
    const at = this.#now();
    if (!now && at - this.#updatedAt < UPDATE_MS) return;
    this.#updatedAt = at;
    let done = 0;
    let total = 0;
    for (const layer of this.#layers.values()) {
      done += layer.done;
      total += layer.total;
    }
    const text = this.#disk
      ? `making the base disk, ${total === 0 ? 0 : Math.floor(done / total * 100)}%`
      : `${formatBytes(done)} of ${formatBytes(Math.max(total, this.#bytes))}`;
    // One column stays free: some terminals wrap when the last one is written.
    this.#write(`\r\x1b[K${`${this.#name}: ${text}`.slice(0, Math.max(columns - 1, 0))}`);
    this.#shown = true;
  }

  #write(text: string): void {
    // Progress that can't be shown is no reason to fail.
    this.#written = this.#written.then(() => print(this.#sink, text)).catch(() => {});
  }
}

/** The beginning of a digest that people tell images apart by. */
export function short(digest: string): string {
  return printable(digest.replace(/^(sha256:[0-9a-f]{12})[0-9a-f]+$/, "$1"));
}

/** Progress on hutch's standard error. */
export function progressOn(sink: ByteSink): PullProgress {
  let columns: number | undefined;
  if (sink.isTerminal() && Deno.env.get("TERM") !== "dumb") {
    try {
      columns = Deno.consoleSize().columns || 80;
    } catch {
      columns = 80;
    }
  }
  return new PullProgress(sink, { columns });
}
