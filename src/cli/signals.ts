/**
 * What signals to hutch do: they end its own work cleanly, or reach the command that runs.
 *
 * @module
 */
import { Interrupted, SIGNAL_EXIT } from "./report.ts";

/** Where signals come from; `Deno` is one. */
export interface SignalSource {
  addSignalListener(signal: Deno.Signal, listener: () => void): void;
  removeSignalListener(signal: Deno.Signal, listener: () => void): void;
}

/** A running command. */
export interface SignalTarget {
  /** Passes a signal on. */
  kill(signal: Deno.Signal): Promise<void>;
  /** Ends the command's box at once. */
  force(): Promise<void>;
}

/** What a relay needs from outside; tests replace it. */
export interface SignalRelayOptions {
  /** Prints a line for the user. */
  readonly say: (line: string) => void;
  /** Ends hutch at once. */
  readonly exit: (code: number) => void;
  /** @default {Deno} */
  readonly source?: SignalSource;
  /** Clock in `ms`. @default {performance.now} */
  readonly now?: () => number;
}

/** Signals that ask a process to end. */
export const ENDING: readonly Deno.Signal[] = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];
const FORWARDED: readonly Deno.Signal[] = [...ENDING, "SIGUSR1", "SIGUSR2"];
/** Ctrl-C presses at most this far apart, in `ms`, count together. */
const PRESS_WINDOW_MS = 3000;

/**
 * Listens from construction to disposal. While hutch itself works (pulls, boots, cleans up), a
 * signal aborts {@link SignalRelay.signal}; while a command runs, the command gets it. Pressing
 * Ctrl-C three times in a row ends what ignores it.
 */
export class SignalRelay implements Disposable {
  readonly #options: SignalRelayOptions;
  readonly #source: SignalSource;
  readonly #abort = new AbortController();
  readonly #listeners: (readonly [Deno.Signal, () => void])[] = [];
  #target: SignalTarget | undefined;
  #received: Deno.Signal | undefined;
  #presses = 0;
  #pressedAt = -Infinity;

  /** Starts to listen. */
  constructor(options: SignalRelayOptions) {
    this.#options = options;
    this.#source = options.source ?? Deno;
    for (const signal of FORWARDED) {
      const listener = () => this.#on(signal);
      this.#source.addSignalListener(signal, listener);
      this.#listeners.push([signal, listener]);
    }
  }

  /** Aborted by the first signal that comes while no command runs. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** From now on signals go to `target`; without one, they end hutch's own work. */
  forwardTo(target: SignalTarget | undefined): void {
    this.#target = target;
    this.#presses = 0;
  }

  /** Throws when a signal came that nobody has answered yet. */
  throwIfInterrupted(): void {
    if (this.#received !== undefined) throw new Interrupted(this.#received);
  }

  /** The same but for Ctrl-C, which is the good end of what goes on until it comes. */
  throwUnlessCtrlC(): void {
    if (this.#received !== "SIGINT") this.throwIfInterrupted();
  }

  /** `error`, or the interruption that caused it. */
  explain(error: unknown): unknown {
    return this.#received === undefined ? error : new Interrupted(this.#received);
  }

  /** Stops listening: signals do again what they do by default. */
  [Symbol.dispose](): void {
    for (const [signal, listener] of this.#listeners.splice(0)) {
      this.#source.removeSignalListener(signal, listener);
    }
  }

  #on(signal: Deno.Signal): void {
    const presses = signal === "SIGINT" ? this.#countPress() : 0;
    if (this.#target) this.#pass(signal, presses, this.#target);
    else this.#interrupt(signal, presses);
  }

  #pass(signal: Deno.Signal, presses: number, target: SignalTarget): void {
    if (presses === 2) {
      this.#options.say("hutch: the command hasn't ended yet; press Ctrl-C again to kill it");
    }
    if (presses > 3) return this.#try(target.force());
    this.#try(target.kill(presses === 3 ? "SIGKILL" : signal));
    if (presses === 3) {
      this.#options.say("hutch: killed the command; press Ctrl-C again to end its box");
    }
  }

  #interrupt(signal: Deno.Signal, presses: number): void {
    if (!ENDING.includes(signal)) return;
    this.#received ??= signal;
    this.#abort.abort(new Interrupted(this.#received));
    if (presses === 2) {
      this.#options.say("hutch: still cleaning up; press Ctrl-C again to leave at once");
    }
    if (presses >= 3) this.#options.exit(SIGNAL_EXIT.SIGINT ?? 130);
  }

  #countPress(): number {
    const now = (this.#options.now ?? (() => performance.now()))();
    this.#presses = now - this.#pressedAt <= PRESS_WINDOW_MS ? this.#presses + 1 : 1;
    this.#pressedAt = now;
    return this.#presses;
  }

  #try(work: Promise<void>): void {
    // The command may have ended meanwhile; its status says what matters.
    work.catch(() => {});
  }
}

/** Waits, until `signal` says otherwise; never rejects. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    if (signal.aborted) done();
    else signal.addEventListener("abort", done);
  });
}
