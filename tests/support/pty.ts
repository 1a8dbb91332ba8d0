/**
 * A shell command on a real terminal, as `script` makes one.
 *
 * @module
 */
import { join } from "node:path";
import { needs, runTool } from "./tools.ts";
import { TempFolder } from "./temp.ts";

/** What a test of {@link OnTerminal} needs. */
export const ptyTools = needs("script", "stty", "tty");

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
  /** All that it showed. */
  raw = "";
  #seen = 0;

  private constructor(child: Deno.ChildProcess, folder: TempFolder) {
    this.#child = child;
    this.#folder = folder;
    this.#keys = child.stdin.getWriter();
    this.#reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Runs `/bin/sh -c COMMAND`. */
  static start(command: string, { rows, columns, env }: OnTerminalOptions): OnTerminal {
    const folder = new TempFolder();
    const script = `stty rows ${rows} cols ${columns}; tty >${
      join(folder.path, "tty")
    }; ${command}`;
    const child = new Deno.Command("script", {
      args: ["-qec", script, "/dev/null"],
      env: { TERM: "xterm", CI: "", SHELL: "/bin/sh", ...env },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    return new OnTerminal(child, folder);
  }

  /** What it showed since the last `until`. */
  get fresh(): string {
    return this.raw.slice(this.#seen);
  }

  /** Reads until what came since the last time `shows`; gives that. */
  async until(shows: RegExp | ((fresh: string) => boolean)): Promise<string> {
    const there = () => typeof shows === "function" ? shows(this.fresh) : shows.test(this.fresh);
    while (!there()) {
      if (!await this.#read()) throw new Error(`it ended, showing ${JSON.stringify(this.raw)}`);
    }
    const { fresh } = this;
    this.#seen = this.raw.length;
    return fresh;
  }

  /** Types. */
  async press(keys: string): Promise<void> {
    await this.#keys.write(new TextEncoder().encode(keys));
  }

  /** Changes the terminal's size. */
  async resize(rows: number, columns: number): Promise<void> {
    const tty = (await Deno.readTextFile(join(this.#folder.path, "tty"))).trim();
    await runTool("stty", "-F", tty, "rows", `${rows}`, "cols", `${columns}`);
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

  async #read(): Promise<boolean> {
    const { value, done } = await this.#reader.read();
    this.raw += value ?? "";
    return !done;
  }
}
