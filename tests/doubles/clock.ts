/**
 * A clock that stands still until the test lets it go on: nothing depends on how fast it runs.
 *
 * @module
 */
import type { Clock } from "../../src/box/clock.ts";

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** See the module. */
export class ClockDouble implements Clock {
  #now = 0;
  readonly #sleepers = new Set<Sleeper>();

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        this.#sleepers.delete(sleeper);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const sleeper = { at: this.#now + ms, wake: done };
      this.#sleepers.add(sleeper);
      signal.addEventListener("abort", done);
    });
  }

  /** Calls back when it is `ms`. */
  at(ms: number, run: () => void): void {
    const sleeper = {
      at: ms,
      wake: () => {
        this.#sleepers.delete(sleeper);
        run();
      },
    };
    this.#sleepers.add(sleeper);
  }

  /** Lets time go on to `ms`, or until `done`, one sleeper after the other. */
  async run(ms: number, done: () => boolean = () => false): Promise<void> {
    for (;;) {
      // Whoever woke does all it can: nothing here waits for more than a few promises.
      for (let turns = 0; turns < 100; turns++) await undefined;
      if (done()) return;
      const [next] = [...this.#sleepers].sort((a, b) => a.at - b.at);
      if (!next || next.at > ms) break;
      this.#now = Math.max(this.#now, next.at);
      next.wake();
    }
    this.#now = Math.max(this.#now, ms);
  }
}
