/**
 * A terminal that passes each key on as it is.
 *
 * @module
 */
import type { SignalSource } from "./signals.ts";

/** What of standard input and the process it needs; tests replace it. */
export interface RawTerminalOptions {
  /** Sets the terminal's mode: raw, or as it was. */
  readonly setRaw: (raw: boolean) => void;
  /** Called after the process stood still. */
  readonly continued: () => void;
  /** @default {Deno} */
  readonly source?: SignalSource;
  /** Lets this process stand still, until it is continued. @default {`SIGSTOP` to itself} */
  readonly stop?: () => void;
}

/**
 * Makes the terminal raw until disposed of, and as it was whenever this process doesn't have it:
 * while it stands still, and at any orderly end.
 */
export class RawTerminal implements Disposable {
  readonly #options: RawTerminalOptions;
  readonly #source: SignalSource;
  readonly #leave = () => this.#set(false);
  readonly #stop = () => {
    this.#set(false);
    (this.#options.stop ?? (() => Deno.kill(Deno.pid, "SIGSTOP")))();
  };
  readonly #continue = () => {
    // Whoever continues it may have changed the terminal meanwhile.
    this.#set(true);
    this.#options.continued();
  };

  /** Makes it raw. */
  constructor(options: RawTerminalOptions) {
    this.#options = options;
    this.#source = options.source ?? Deno;
    options.setRaw(true);
    globalThis.addEventListener("unload", this.#leave); // Deno.exit, from anywhere
    this.#source.addSignalListener("SIGTSTP", this.#stop);
    this.#source.addSignalListener("SIGCONT", this.#continue);
  }

  /** Makes it as it was. */
  [Symbol.dispose](): void {
    globalThis.removeEventListener("unload", this.#leave);
    this.#source.removeSignalListener("SIGTSTP", this.#stop);
    this.#source.removeSignalListener("SIGCONT", this.#continue);
    this.#set(false);
  }

  #set(raw: boolean): void {
    try {
      this.#options.setRaw(raw);
    } catch {
      // The terminal is gone, and with it its mode.
    }
  }
}
