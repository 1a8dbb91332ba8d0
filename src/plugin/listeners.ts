/**
 * The listeners of one plugin: told one event after the other, apart from whoever emits.
 *
 * @module
 */
import { errorText } from "../errors.ts";

/** A listener that takes longer is left behind, in `ms`. */
const PATIENCE_MS = 30_000;
/** Events that may wait for a plugin; the oldest go first. */
const MOST_WAITING = 10_000;

/** One event on its way to a plugin. */
export interface Telling {
  /** The event's type. */
  readonly type: string;
  /** The id of the box that it is about. */
  readonly box?: string | undefined;
  /** Calls the listener. */
  tell(): unknown;
}

/** Options of {@link ListenerQueue}. */
export interface ListenerQueueOptions {
  /** Hears what goes wrong; mustn't throw. */
  readonly failed: (telling: Telling, message: string) => void;
  /** See {@link PATIENCE_MS}. */
  readonly patienceMs?: number;
  /** See {@link MOST_WAITING}. */
  readonly mostWaiting?: number;
}

/** Events for one plugin, in order. Nothing here throws or rejects. */
export class ListenerQueue {
  readonly #options: Required<ListenerQueueOptions>;
  #waiting: Telling[] = [];
  #working: Promise<void> | undefined;
  #dropped = 0;
  #ended = false;

  /** An empty queue. */
  constructor(options: ListenerQueueOptions) {
    this.#options = { patienceMs: PATIENCE_MS, mostWaiting: MOST_WAITING, ...options };
  }

  /** Puts an event behind those that wait; returns before the listener hears of it. */
  add(telling: Telling): void {
    if (this.#ended) return;
    this.#waiting.push(telling);
    if (this.#waiting.length > this.#options.mostWaiting) {
      this.#waiting.shift();
      this.#dropped++;
    }
    this.#working ??= this.#work();
  }

  /** Resolves when every event so far was told, or given up. */
  async drained(): Promise<void> {
    await this.#working;
  }

  /** Tells nothing more: what waits is given up, and what is added from now on is never told. */
  end(): void {
    this.#ended = true;
    const [next] = this.#waiting;
    const count = this.#waiting.length + this.#dropped;
    this.#waiting = [];
    if (next) {
      this.#options.failed(
        { type: next.type, tell: next.tell },
        `it is too slow: ${count} events were not told before the runtime closed`,
      );
    }
  }

  async #work(): Promise<void> {
    await Promise.resolve(); // after the caller has gone on
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      if (this.#dropped > 0) {
        const { type, tell } = next; // not about its box
        this.#options.failed(
          { type, tell },
          `it is too slow: ${this.#dropped} events were dropped`,
        );
        this.#dropped = 0;
      }
      await this.#tell(next);
    }
    this.#working = undefined;
  }

  async #tell(telling: Telling): Promise<void> {
    const { failed, patienceMs } = this.#options;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(resolve, patienceMs, "late");
      Deno.unrefTimer(timer); // a listener that hangs doesn't keep the program alive
    });
    const told = (async () => {
      try {
        await telling.tell();
      } catch (error) {
        failed(telling, errorText(error));
      }
    })();
    if (await Promise.race([told, late]) === "late") {
      failed(telling, `it did not return within ${patienceMs} ms; going on without it`);
    }
    clearTimeout(timer);
  }
}
