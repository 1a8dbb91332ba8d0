/**
 * Work that several callers ask for and that is done once.
 *
 * @module
 */

/**
 * Work under way or done. Whoever asks for it joins; the work is cancelled only when all who joined
 * have given up.
 */
export class SharedTask<T> {
  /** How the work ended; its failure is for those who join. */
  readonly result: Promise<T>;
  readonly #givenUp = new AbortController();
  #waiting = 0;
  #over = false;

  /** Begins the work; `work` gets the signal of its cancellation. */
  constructor(work: (signal: AbortSignal) => Promise<T>) {
    this.result = work(this.#givenUp.signal).finally(() => this.#over = true);
    this.result.catch(() => {});
  }

  /** Whether it has ended. */
  get isOver(): boolean {
    return this.#over;
  }

  /** Whether it is being cancelled: too late to join. */
  get abandoned(): boolean {
    return this.#givenUp.signal.aborted;
  }

  /**
   * Waits for the work. Who gives up by `signal` hears at once; the last one hears when the work
   * has been wound up.
   */
  async join(signal?: AbortSignal): Promise<T> {
    if (this.#over || !signal) {
      this.#waiting++; // and stays: nobody can give up for it
      return await this.result;
    }
    signal.throwIfAborted();
    this.#waiting++;
    const left = Promise.withResolvers<never>();
    const leave = () => {
      if (--this.#waiting === 0) this.#givenUp.abort(signal.reason);
      else left.reject(signal.reason);
    };
    signal.addEventListener("abort", leave, { once: true });
    try {
      return await Promise.race([this.result, left.promise]);
    } finally {
      signal.removeEventListener("abort", leave);
    }
  }
}
