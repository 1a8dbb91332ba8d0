/**
 * A copy that was asked for: awaited for its result, or watched while it runs.
 *
 * @module
 */
import { Thenable } from "../thenable.ts";
import type { CopyProgress, CopyResult } from "./copy_options.ts";

/** The work of a copy: ends early when the signal is aborted, and tells how far it is. */
export type CopyWork = (
  signal: AbortSignal,
  tell: (progress: CopyProgress) => void,
) => Promise<CopyResult>;

/**
 * A copy. It runs from the beginning, whether it is awaited, watched or neither. Awaiting it gives
 * what it did; iterating over it tells how far it is, in steps as large as the reader is slow, and
 * throws what it failed with. Leaving the iteration leaves the copy running; `await using`, or the
 * option `signal`, cancels it.
 *
 * @example
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * await using copy = box.copyIn("README.md", "/tmp/");
 * for await (const { path, bytes } of copy) console.log(path, bytes);
 * console.log((await copy).entries); // 1
 * ```
 */
export class Copy extends Thenable<CopyResult>
  implements AsyncIterable<CopyProgress>, AsyncDisposable {
  readonly #result: Promise<CopyResult>;
  readonly #givingUp = new AbortController();
  #latest: CopyProgress | undefined;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  /** For boxes; begins the work at once. */
  constructor(work: CopyWork, signal?: AbortSignal) {
    super();
    const givingUp = this.#givingUp.signal;
    this.#result = this.#run(work, signal ? AbortSignal.any([signal, givingUp]) : givingUp);
    // A failure shows where the copy is awaited or watched, and nowhere else.
    this.#result.catch(() => {});
  }

  /** Waits for its end. */
  override then<A = CopyResult, B = never>(
    fulfilled?: ((result: CopyResult) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(fulfilled, rejected);
  }

  /** How far it is, whenever that changed since the reader looked. */
  async *[Symbol.asyncIterator](): AsyncGenerator<CopyProgress, void> {
    for (let seen: CopyProgress | undefined;;) {
      const { promise } = this.#changed;
      const ended = this.#ended;
      if (this.#latest !== seen && this.#latest) yield seen = this.#latest;
      else if (ended) break;
      else await promise;
    }
    await this.#result;
  }

  /** Cancels the copy if it still runs, and waits until it has let go of everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#givingUp.abort();
    await this.#result.catch(() => {});
  }

  async #run(work: CopyWork, signal: AbortSignal): Promise<CopyResult> {
    try {
      return await work(signal, (progress) => this.#tell(progress));
    } finally {
      this.#ended = true;
      this.#changed.resolve();
    }
  }

  #tell(progress: CopyProgress): void {
    this.#latest = progress;
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
