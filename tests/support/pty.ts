/**
 * A program on a real terminal, as `script` makes one.
 *
 * @module
 */
import { join } from "node:path";
import { quoteShell } from "../../mod.ts";
import { needs, runTool } from "./tools.ts";
import { TempFolder } from "./temp.ts";

/** What a test of {@link OnTerminal} needs. */
export const ptyTools = needs("script", "stty", "tty");

/** How long what must come may take, in `ms`: a box may be booted for it. */
const PATIENCE_MS = 60_000;

/** Options of {@link OnTerminal.start}. */
export interface OnTerminalOptions {
  readonly rows: number;
  readonly columns: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** A command on a terminal. */
export class OnTerminal implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #keys: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #folder: TempFolder;
  /** All that it showed, as it came. */
  raw = "";
  #seen = 0;

  private constructor(child: Deno.ChildProcess, folder: TempFolder) {
    this.#child = child;
    this.#folder = folder;
    this.#keys = child.stdin.getWriter();
    this.#reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Runs a program with its arguments. */
  static start(
    command: readonly string[],
    { rows, columns, env }: OnTerminalOptions,
  ): OnTerminal {
    const folder = new TempFolder();
    const script = `cd ${folder.path}; stty rows ${rows} cols ${columns}; tty >tty; stty -g >before
      sh -c 'echo $$ >pid; cd /; exec "$@"' sh ${command.map(quoteShell).join(" ")}
      code=$?; stty -g >after; exit $code`;
    const child = new Deno.Command("script", {
      args: ["-qec", script, "/dev/null"],
      env: { TERM: "xterm", CI: "", SHELL: "/bin/sh", ...env },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    return new OnTerminal(child, folder);
  }

  /** What it showed since the last `until`, with `␛` for each escape character. */
  get fresh(): string {
    return this.raw.slice(this.#seen).replaceAll("\x1b", "␛");
  }

  /** Reads until what came since the last time `shows`; gives that. */
  async until(shows: RegExp | ((fresh: string) => boolean)): Promise<string> {
    const there = () => typeof shows === "function" ? shows(this.fresh) : shows.test(this.fresh);
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      late.reject(new Error(`it doesn't show what it should, but ${JSON.stringify(this.fresh)}`));
    }, PATIENCE_MS);
    try {
      while (!there()) {
        if (await Promise.race([this.#read(), late.promise])) continue;
        throw new Error(`it ended, showing ${JSON.stringify(this.raw)}`);
      }
    } finally {
      clearTimeout(timer);
    }
    const { fresh } = this;
    this.#seen = this.raw.length;
    return fresh;
  }

  /** Types. */
  async press(keys: string): Promise<void> {
    await this.#keys.write(new TextEncoder().encode(keys));
  }

  /** The program's process id, once it has shown something. */
  get pid(): number {
    return Number(this.#said("pid"));
  }

  /** Changes the terminal's size. */
  async resize(rows: number, columns: number): Promise<void> {
    await runTool("stty", "-F", this.#said("tty"), "rows", `${rows}`, "cols", `${columns}`);
  }

  /** The terminal's settings now. */
  async settings(): Promise<string> {
    return (await runTool("stty", "-F", this.#said("tty"), "-g")).trim();
  }

  /** The terminal's settings before the program began. */
  get before(): string {
    return this.#said("before");
  }

  /** The terminal's settings after the program's end. */
  get after(): string {
    return this.#said("after");
  }

  /** Reads on to the end and gives the exit code. */
  async end(): Promise<number> {
    while (await this.#read()) { /* on */ }
    await this.#keys.close().catch(() => {});
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // it ended
    }
    await this.#reader.cancel();
    await this.#keys.close().catch(() => {});
    await this.#child.status;
    await this.#folder[Symbol.asyncDispose]();
  }

  #said(name: string): string {
    return Deno.readTextFileSync(join(this.#folder.path, name)).trim();
  }

  async #read(): Promise<boolean> {
    const { value, done } = await this.#reader.read();
    this.raw += value ?? "";
    return !done;
  }
}
