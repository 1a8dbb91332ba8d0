/**
 * A pull that was asked for: awaited for its image, or watched while it runs.
 *
 * @module
 */
import { Thenable } from "../../thenable.ts";
import { asPermissionError } from "../../permissions.ts";
import type { PullEvent, PullListener } from "./pull.ts";
import type { ImageRecord } from "../records.ts";
import { cancelled } from "../wait.ts";

/** The work of a pull: ends early when the signal is aborted, and tells the listener. */
export type PullWork = (signal: AbortSignal, onProgress: PullListener) => Promise<ImageRecord>;

/**
 * A pull. It runs from the beginning, whether it is awaited, watched or neither. Awaiting it gives
 * the image; iterating over it gives its {@link PullEvent}s and, after the last one, throws what the
 * pull failed with.
 *
 * Any number of iterations may go on at once, each from its own pace, and begin at any time. What
 * was told before, or while the reader was busy, comes as the latest event of each type and layer:
 * a slow reader sees larger steps, and nothing is piled up for it. Leaving an iteration early leaves
 * the pull running; `await using`, or the option `signal`, cancels it.
 *
 * @example Awaited
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * const { digest } = await runtime.images.pull("builtin:busybox");
 * console.log(digest);
 * ```
 *
 * @example Watched
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using pull = runtime.images.pull("builtin:busybox");
 * for await (const event of pull) {
 *   if (event.type === "layer") console.log(event.digest, `${event.done} of ${event.total} bytes`);
 * }
 * const image = await pull;
 * console.log(image.layers.length);
 * ```
 */
export class ImagePull extends Thenable<ImageRecord>
  implements AsyncIterable<PullEvent>, AsyncDisposable {
  readonly #result: Promise<ImageRecord>;
  readonly #givingUp = new AbortController();
  /** The latest event of each type and digest, the oldest first. */
  readonly #latest = new Map<string, { readonly number: number; readonly event: PullEvent }>();
  #told = 0;
  #ended = false;
  #changed = Promise.withResolvers<void>();

  /** For runtimes; begins the work at once. */
  constructor(reference: string, work: PullWork, signal?: AbortSignal) {
    super();
    const givingUp = this.#givingUp.signal;
    const either = signal ? AbortSignal.any([signal, givingUp]) : givingUp;
    this.#result = this.#run(reference, work, either);
    // A failure shows where the pull is awaited or watched, and nowhere else.
    this.#result.catch(() => {});
  }

  /** Waits for the image. */
  override then<A = ImageRecord, B = never>(
    fulfilled?: ((image: ImageRecord) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(fulfilled, rejected);
  }

  /** What the pull tells, from its beginning to its end. */
  async *[Symbol.asyncIterator](): AsyncGenerator<PullEvent, void> {
    for (let seen = 0;;) {
      const { promise } = this.#changed;
      const ended = this.#ended;
      // An event that comes meanwhile goes to the map's end: this loop meets it too.
      for (const { number, event } of this.#latest.values()) {
        if (number <= seen) continue;
        seen = number;
        yield event;
      }
      if (ended) break;
      await promise;
    }
    await this.#result;
  }

  /** Cancels the pull if it still runs, and waits until it has let go of everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#givingUp.abort();
    await this.#result.catch(() => {});
  }

  async #run(reference: string, work: PullWork, signal: AbortSignal): Promise<ImageRecord> {
    try {
      if (signal.aborted) throw cancelled(`pull ${reference}`, signal);
      return await work(signal, (event) => this.#tell(event));
    } catch (error) {
      throw asPermissionError(error, `pull ${reference}`);
    } finally {
      this.#ended = true;
      this.#changed.resolve();
    }
  }

  #tell(event: PullEvent): void {
    const key = "digest" in event ? `${event.type} ${event.digest}` : event.type;
    this.#latest.delete(key); // and again at the end: the order is that of the latest news
    this.#latest.set(key, { number: ++this.#told, event });
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
