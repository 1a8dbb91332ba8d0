/**
 * What happens to a box's files, in the shape of `Deno.watchFs`.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { ExecReply } from "../../guest/messages.ts";
import type { GuestStream } from "../../guest/stream.ts";
import { fileError } from "./errors.ts";
import { decodePath } from "./paths.ts";
import { broken, FrameCutter, type GuestFrame } from "./wire.ts";

/** One thing that happened, as in `Deno.FsEvent`. */
export interface BoxFsEvent extends Deno.FsEvent {
  /**
   * `create`, `modify` (bytes or attributes), `remove`; `rename` with the old path and the new one, or
   * with one where the other isn't watched; `access` when who wrote to a file has closed it; `other`
   * with the flag `rescan` when events were lost, since nobody took them. What is made in a new
   * folder at once may be told twice.
   */
  readonly kind: Deno.FsEvent["kind"];
  /** Bytes that aren't UTF-8 show as U+FFFD. */
  readonly paths: string[];
  /** The paths as they are. */
  readonly pathBytes: Uint8Array<ArrayBuffer>[];
}

const KINDS = ["access", "create", "modify", "other", "remove", "rename"] as const;

/** Watches until it is closed, its signal aborts, its iteration is left, or the box ends. */
export class BoxWatcher implements AsyncIterable<BoxFsEvent>, AsyncDisposable {
  /** Resolves when it watches; rejects when it can't. What happens before that isn't told. */
  readonly ready: Promise<void>;
  readonly #stream: Promise<GuestStream<ExecReply>>;
  readonly #events: AsyncGenerator<BoxFsEvent>;
  readonly #started = Promise.withResolvers<void>();
  #closed = false;

  /** For `BoxFiles.watch`; `what` follows "Cannot". */
  constructor(
    start: () => Promise<GuestStream<ExecReply>>,
    { what, signal }: { readonly what: string; readonly signal?: AbortSignal | undefined },
  ) {
    this.#stream = start();
    this.#stream.catch(() => {});
    this.#events = this.#read(what);
    this.ready = this.#started.promise;
    this.ready.catch(() => {}); // whoever iterates is told as well
    // The first step waits for the guest's word that it watches.
    const first = this.#events.next();
    first.catch((error: unknown) => this.#started.reject(error));
    const abort = () => void this.close();
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort, { once: true });
  }

  /** Events from now on; ends when it is closed. */
  async *[Symbol.asyncIterator](): AsyncIterableIterator<BoxFsEvent> {
    await this.ready;
    try {
      yield* this.#events;
    } finally {
      await this.close();
    }
  }

  /** Ends it. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    const stream = await this.#stream.catch(() => undefined);
    await stream?.close();
  }

  /** {@link BoxWatcher.close}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The first thing that it gives is no event, but that it watches. */
  async *#read(what: string): AsyncGenerator<BoxFsEvent> {
    const cutter = new FrameCutter();
    let ready = false;
    try {
      const stream = await this.#stream;
      for await (const chunk of stream.stdout) {
        for (const frame of cutter.cut(chunk)) {
          if (ready) {
            yield readEvent(frame);
            continue;
          }
          if (frame.has("errno")) throw fileError(frame.number("errno", 1, 4095), what);
          ready = true;
          this.#started.resolve();
          yield { kind: "any", paths: [], pathBytes: [] };
        }
      }
      throw new HutchError("guest_failed", `Cannot ${what}: its program ended`);
    } catch (error) {
      if (!this.#closed) throw error;
      this.#started.resolve();
    }
  }
}

function readEvent(frame: GuestFrame): BoxFsEvent {
  const named = frame.text("kind");
  const kind = KINDS.find((each) => each === named);
  if (kind === undefined) throw broken("an event is of no kind");
  const { data } = frame;
  const view = new DataView(data.buffer);
  const pathBytes: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < data.length;) {
    if (data.length - at < 2) throw broken("an event's path is cut");
    const length = view.getUint16(at);
    const path = data.slice(at + 2, at + 2 + length);
    if (path.length < length || path[0] !== 0x2f || path.includes(0)) {
      throw broken("an event's path isn't one");
    }
    pathBytes.push(path);
    at += 2 + length;
  }
  if (pathBytes.length > 2) throw broken("an event has more than two paths");
  const flag = kind === "other" ? { flag: "rescan" as const } : {};
  return { kind, paths: pathBytes.map(decodePath), pathBytes, ...flag };
}
