/**
 * Lines at a terminal's bottom that are written over as they change.
 *
 * @module
 */
import { Writable } from "node:stream";
import { loadLogUpdate } from "../deps.ts";
import { type ByteSink, print } from "./io.ts";
import type { TerminalSize } from "./progress_frame.ts";

type LogUpdate = ReturnType<Awaited<ReturnType<typeof loadLogUpdate>>["createLogUpdate"]>;

/** Takes away the line above the cursor. */
const ERASE_ABOVE = "\x1b[1A\x1b[2K";

/** Draws frames in place of each other. The cursor stays visible, so that no end can leave it hidden. */
export class TerminalView {
  readonly #screen: Screen;
  readonly #update: LogUpdate;
  #drawn: readonly string[] = [];

  private constructor(screen: Screen, update: LogUpdate) {
    this.#screen = screen;
    this.#update = update;
  }

  /** A view on a terminal, `size` of which is asked at each drawing. */
  static async open(sink: ByteSink, size: () => TerminalSize): Promise<TerminalView> {
    const { createLogUpdate } = await loadLogUpdate();
    const screen = new Screen(sink, size);
    return new TerminalView(screen, createLogUpdate(screen, { showCursor: true }));
  }

  /** Whether the terminal hasn't taken yet what was drawn before. */
  get isBusy(): boolean {
    return this.#screen.writableLength > 0;
  }

  /** Shows these lines in place of those shown before. */
  draw(lines: readonly string[]): void {
    this.#unwrap();
    if (lines.length === 0) this.#update.clear();
    else this.#update(lines.join("\n"));
    this.#drawn = lines;
  }

  /** Takes the lines away, writes `text` where they were, and waits until all is written. */
  async close(text: string): Promise<void> {
    this.#unwrap();
    if (this.#drawn.length > 0) this.#update.clear();
    this.#drawn = [];
    this.#screen.end(text);
    await this.#screen.written;
  }

  /**
   * A terminal that became narrower has broken lines in two, which log-update doesn't know of: takes
   * them all away.
   */
  #unwrap(): void {
    const { columns } = this.#screen;
    const rows = this.#drawn.map((line) => Math.max(Math.ceil(line.length / columns), 1));
    const extra = rows.reduce((sum, count) => sum + count, 0) - this.#drawn.length;
    if (extra <= 0 || !breaksLines((name) => Deno.env.get(name))) return;
    this.#update.clear();
    this.#screen.write(ERASE_ABOVE.repeat(extra));
    this.#drawn = [];
  }
}

/** Whether the terminal breaks lines that it has shown already; xterm and screen cut them. */
function breaksLines(env: (name: string) => string | undefined): boolean {
  return env("TMUX") !== undefined ||
    env("XTERM_VERSION") === undefined && env("STY") === undefined;
}

/** A terminal as a stream of Node.js. What can't be written is left out: it is progress. */
class Screen extends Writable {
  readonly isTTY = true;
  readonly written: Promise<void>;
  readonly #size: () => TerminalSize;

  constructor(sink: ByteSink, size: () => TerminalSize) {
    super({
      decodeStrings: false,
      write(text: string, _encoding, done) {
        print(sink, text).catch(() => {}).then(() => done());
      },
    });
    this.#size = size;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.written = promise;
    this.on("finish", resolve);
  }

  get columns(): number {
    return this.#size().columns;
  }

  get rows(): number {
    return this.#size().rows;
  }
}
