/**
 * Asking whoever sits at the terminal.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { ByteSource, CliIo } from "./io.ts";
import { print } from "./io.ts";
import { Interrupted } from "./report.ts";

/** Standard input that may be a terminal; `Deno.stdin` is one. */
export interface TerminalSource extends ByteSource {
  isTerminal(): boolean;
  /** Turns off echo, lines and signals, or turns them on again. */
  setRaw(raw: boolean): void;
}

/** Longest answer, in bytes. */
const LIMIT = 64 * 1024;

const INTERRUPT = 0x03; // Ctrl-C
const END = 0x04; // Ctrl-D
const BACKSPACES: readonly number[] = [0x08, 0x7f];
const ERASE_LINE = 0x15; // Ctrl-U
const LINE_ENDS: readonly number[] = [0x0a, 0x0d];

/** Whether somebody can be asked. */
export function canAsk(stdin: ByteSource): stdin is TerminalSource {
  return "isTerminal" in stdin && typeof stdin.isTerminal === "function" && stdin.isTerminal() &&
    "setRaw" in stdin && typeof stdin.setRaw === "function";
}

/** What an {@link ask} is about. */
export interface AskOptions {
  /** Shown before the answer, on standard error. */
  readonly prompt: string;
  /** Whether the answer isn't shown. */
  readonly hidden: boolean;
  readonly signal: AbortSignal;
}

/**
 * Asks for a line.
 *
 * @throws {Interrupted} by Ctrl-C, {HutchError} `cancelled` when there is no line.
 */
export async function ask(
  { stdin, stderr }: { readonly stdin: TerminalSource; readonly stderr: CliIo["stderr"] },
  { prompt, hidden, signal }: AskOptions,
): Promise<string> {
  // Raw in both cases: one way to read. Before the prompt, since some answer quickly.
  stdin.setRaw(true);
  const line = new Line(hidden);
  try {
    await print(stderr, prompt);
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      for (;;) {
        const buffer = new Uint8Array(1024);
        const count = await Promise.race([stdin.read(buffer), aborted]);
        const { echo, done } = line.take(buffer.subarray(0, count ?? 0), count === null);
        if (echo !== "") await print(stderr, echo);
        if (done) return line.text;
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  } finally {
    stdin.setRaw(false);
    await print(stderr, "\n");
  }
}

/** A line as it is typed. */
class Line {
  readonly #hidden: boolean;
  #bytes: number[] = [];

  constructor(hidden: boolean) {
    this.#hidden = hidden;
  }

  get text(): string {
    return new TextDecoder().decode(Uint8Array.from(this.#bytes));
  }

  /** What is to be shown for typed bytes, and whether they end the line. */
  take(typed: Uint8Array, ended: boolean): { echo: string; done: boolean } {
    const before = this.text;
    for (const byte of typed) {
      if (LINE_ENDS.includes(byte)) return { echo: this.#change(before), done: true };
      if (byte === INTERRUPT) throw new Interrupted("SIGINT");
      if (byte === END) ended = true;
      else if (BACKSPACES.includes(byte)) this.#erase();
      else if (byte === ERASE_LINE) this.#bytes = [];
      else if (byte >= 0x20 && this.#bytes.length < LIMIT) this.#bytes.push(byte);
    }
    if (ended && this.#bytes.length === 0) {
      throw new HutchError("cancelled", "Cannot go on: the input ended before an answer");
    }
    return { echo: this.#change(before), done: ended };
  }

  /** The last character, whose later bytes begin with the bits 10. */
  #erase(): void {
    let byte = this.#bytes.pop();
    while (byte !== undefined && (byte & 0xc0) === 0x80) byte = this.#bytes.pop();
  }

  /** From what was shown to what is there now. */
  #change(before: string): string {
    if (this.#hidden) return "";
    const now = this.text;
    return now.startsWith(before)
      ? now.slice(before.length)
      : "\b \b".repeat([...before].length) + now;
  }
}
