/**
 * Requests in line for a thread of the guest's program for files.
 *
 * @module
 */

/** What a {@link Line} goes by. */
export interface LineOptions<T> {
  /** So many requests may be under way for one of these to be sent. */
  readonly most: number;
  /** How long the line stands still before `stuck` is called, in `ms`. */
  readonly patienceMs: number;
  /** Takes those that are in line then. */
  readonly stuck: (waiting: T[]) => void;
}

/** First come, first served; nobody stands in it for ever. */
export class Line<T> {
  readonly #options: LineOptions<T>;
  readonly #waiting: Map<number, T> = new Map();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: LineOptions<T>) {
    this.#options = options;
  }

  /** Whether nobody waits. */
  get empty(): boolean {
    return this.#waiting.size === 0;
  }

  has(id: number): boolean {
    return this.#waiting.has(id);
  }

  add(id: number, request: T): void {
    this.#waiting.set(id, request);
    this.#timer ??= this.#wait();
  }

  /** Whether it was in line. */
  delete(id: number): boolean {
    const was = this.#waiting.delete(id);
    if (this.empty) this.#rest();
    return was;
  }

  /** Takes from its head whatever there is room for. */
  *take(underWay: () => number): Generator<readonly [id: number, request: T]> {
    for (const entry of this.#waiting) {
      if (underWay() >= this.#options.most) return;
      this.#waiting.delete(entry[0]);
      this.#rest();
      if (!this.empty) this.#timer = this.#wait();
      yield entry;
    }
  }

  /** Takes all. */
  clear(): T[] {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    this.#rest();
    return all;
  }

  #wait(): ReturnType<typeof setTimeout> {
    return setTimeout(() => this.#options.stuck(this.clear()), this.#options.patienceMs);
  }

  #rest(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
