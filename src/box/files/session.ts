/**
 * One process of the agent's program `files`, and the requests to it.
 *
 * @module
 */
import { errorText, HutchError } from "../../errors.ts";
import type { ExecReply } from "../../guest/messages.ts";
import type { GuestStream } from "../../guest/stream.ts";
import { plainText } from "../../guest/validate.ts";
import { broken, encodeFrame, FrameCutter, type GuestFrame, type HeadValue } from "./wire.ts";

/** How long it stays without a request or an open file, in `ms`; until then it is box activity. */
const LINGER_MS = 500;
/** The program has 16 threads: with this many given up, new requests go to another process. */
const MOST_GIVEN_UP = 8;
const MAX_ID = 0xffffffff;
const MOST_WORDS = 1000;

/** A request that the guest refused, by Linux's number. */
export class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number) {
    super(`os error ${errno}`);
    this.errno = errno;
  }
}

/** Options of {@link FilesSession.request}. */
export interface FilesRequestOptions {
  readonly data?: Uint8Array;
  /** Gives the request up: it rejects with the signal's reason. What it does goes on in the guest. */
  readonly signal?: AbortSignal | undefined;
  /** Called with a reply that comes after that. */
  readonly late?: (reply: GuestFrame) => void;
}

interface Pending {
  readonly resolve: (reply: GuestFrame) => void;
  readonly reject: (error: unknown) => void;
}

/** Requests in flight have numbers; replies come in any order. */
export class FilesSession {
  readonly #stream: GuestStream<ExecReply>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #pending: Map<number, Pending> = new Map();
  readonly #givenUp: Map<number, ((reply: GuestFrame) => void) | undefined> = new Map();
  readonly #words: Promise<string>;
  #id = 0;
  #handles = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failure: Error | undefined;
  #closed: Promise<void> | undefined;

  /** `stream` runs the program. */
  constructor(stream: GuestStream<ExecReply>) {
    this.#stream = stream;
    this.#writer = stream.stdin.getWriter();
    this.#writer.closed.catch(() => {}); // the end of its output says why
    this.#words = firstWords(stream.stderr);
    void this.#read();
    this.#rest();
  }

  /** Whether new work can be given to it. */
  get usable(): boolean {
    return !this.#failure && this.#givenUp.size < MOST_GIVEN_UP;
  }

  /** Sends a request; rejects with a {@link Refusal}, a `HutchError`, or the signal's reason. */
  async request(
    head: Readonly<Record<string, HeadValue>>,
    options: FilesRequestOptions = {},
  ): Promise<GuestFrame> {
    const { data, signal, late } = options;
    signal?.throwIfAborted();
    if (this.#failure) throw this.#failure;
    const id = this.#next();
    const frame = encodeFrame({ id, ...head }, data);
    const { promise, resolve, reject } = Promise.withResolvers<GuestFrame>();
    this.#pending.set(id, { resolve, reject });
    clearTimeout(this.#timer);
    const abort = () => {
      if (!this.#pending.delete(id)) return;
      this.#givenUp.set(id, late);
      reject(signal?.reason);
      this.#rest();
    };
    signal?.addEventListener("abort", abort, { once: true });
    this.#writer.write(frame).catch(() => {}); // as above
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  /** A file is open in it: it stays. */
  retain(): void {
    this.#handles++;
    clearTimeout(this.#timer);
  }

  /** The opposite. */
  release(): void {
    this.#handles--;
    this.#rest();
  }

  /** Ends the process; what is pending rejects. Idempotent. */
  close(): Promise<void> {
    this.#fail(new HutchError("cancelled", "Cannot go on: the box's files were let go"));
    return this.#closed ?? Promise.resolve();
  }

  /** Nothing to do: it goes after a while. */
  #rest(): void {
    clearTimeout(this.#timer);
    if (this.#failure || this.#pending.size > 0 || this.#handles > 0) return;
    const timer = setTimeout(() => void this.close(), LINGER_MS);
    Deno.unrefTimer(timer);
    this.#timer = timer;
  }

  #next(): number {
    do {
      this.#id = this.#id === MAX_ID ? 1 : this.#id + 1;
    } while (this.#pending.has(this.#id) || this.#givenUp.has(this.#id));
    return this.#id;
  }

  async #read(): Promise<void> {
    const cutter = new FrameCutter();
    try {
      for await (const chunk of this.#stream.stdout) {
        for (const frame of cutter.cut(chunk)) this.#take(frame);
      }
      this.#fail(await this.#ended());
    } catch (error) {
      this.#fail(error instanceof Error ? error : broken(errorText(error)));
    }
  }

  /** Why there is no more output. */
  async #ended(): Promise<Error> {
    const { code, signal } = await this.#stream.exit;
    const words = await this.#words;
    const how = signal ?? `code ${code}`;
    return new HutchError(
      "guest_failed",
      `Cannot go on with the box's files: the program for them ended with ${how}${words}`,
    );
  }

  #take(frame: GuestFrame): void {
    const id = frame.number("id", 1, MAX_ID);
    const errno = frame.has("errno") ? frame.number("errno", 1, 4095) : undefined;
    const pending = this.#pending.get(id);
    if (pending) {
      this.#pending.delete(id);
      if (errno === undefined) pending.resolve(frame);
      else pending.reject(new Refusal(errno));
    } else if (this.#givenUp.has(id)) {
      const late = this.#givenUp.get(id);
      this.#givenUp.delete(id);
      if (errno === undefined) late?.(frame);
    } else {
      throw broken(`it answers request ${id}, which there isn't`);
    }
    this.#rest();
  }

  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    clearTimeout(this.#timer);
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#givenUp.clear();
    this.#closed = this.#stream.close();
  }
}

/** What the program says when it gives up, to follow a message. */
async function firstWords(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<string> {
  let words = "";
  try {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      if (words.length < MOST_WORDS) words += decoder.decode(chunk.subarray(0, MOST_WORDS));
    }
  } catch {
    // The box is gone: the end of the output says so.
  }
  const plain = plainText(words).trim();
  return plain === "" ? "" : ` (${plain})`;
}
