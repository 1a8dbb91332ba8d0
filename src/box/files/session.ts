/**
 * One process of the agent's program `files`, and the requests to it.
 *
 * @module
 */
import { errorText, HutchError } from "../../errors.ts";
import type { ExecReply } from "../../guest/messages.ts";
import type { GuestStream } from "../../guest/stream.ts";
import { plainText } from "../../guest/validate.ts";
import { Line } from "./line.ts";
import { broken, encodeFrame, FrameCutter, type GuestFrame, type HeadValue } from "./wire.ts";

/** How long it stays without a request or an open file, in `ms`; until then it is box activity. */
const LINGER_MS = 500;
/**
 * The program's threads, `MAX_THREADS` of `ffi/agent/files.c`. It gets no more requests at once: what
 * it can't begin may wait for ever, and nobody else could be asked.
 */
const THREADS = 16;
/** So many requests may be under way for one about a path to begin: the rest is for open files. */
const MOST_OF_PATHS = 12;
/** With this many given up, new requests go to another process. */
const MOST_GIVEN_UP = 8;
/** So long requests about paths stand in line, in `ms`, until another process gets them. */
const PATIENCE_MS = 1000;
/** So long those of open files do, in `ms`, which no other process can do. */
const FILE_PATIENCE_MS = 30_000;
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

/** A request that this process doesn't get to, and another one can be asked. */
export class NotBegun extends Error {}

/** Options of {@link FilesSession}, for tests. */
export interface FilesSessionOptions {
  /** See `PATIENCE_MS`. */
  readonly patienceMs?: number;
  /** See `FILE_PATIENCE_MS`. */
  readonly filePatienceMs?: number;
}

/** Called with a reply that comes after its request was given up. */
export type LateReply = (reply: GuestFrame, session: FilesSession) => void;

/** Options of {@link FilesSession.request}. */
export interface FilesRequestOptions {
  readonly data?: Uint8Array;
  /** Gives the request up: it rejects with the signal's reason. What it does goes on in the guest. */
  readonly signal?: AbortSignal | undefined;
  /** Called with a reply that comes after that. */
  readonly late?: LateReply | undefined;
}

interface Pending {
  readonly frame: Uint8Array;
  readonly late: LateReply | undefined;
  readonly resolve: (reply: GuestFrame) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Requests in flight have numbers; replies come in any order. Those that the program has no thread for
 * stand in line here, from where they can still go to another.
 */
export class FilesSession {
  readonly #stream: GuestStream<ExecReply>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #pending: Map<number, Pending> = new Map();
  readonly #givenUp: Map<number, LateReply | undefined> = new Map();
  readonly #ofFiles: Line<Pending>;
  readonly #ofPaths: Line<Pending>;
  readonly #words: Promise<string>;
  #id = 0;
  #handles = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stuck = false;
  #failure: Error | undefined;
  #closed: Promise<void> | undefined;

  /** `stream` runs the program. */
  constructor(
    stream: GuestStream<ExecReply>,
    { patienceMs = PATIENCE_MS, filePatienceMs = FILE_PATIENCE_MS }: FilesSessionOptions = {},
  ) {
    this.#stream = stream;
    this.#writer = stream.stdin.getWriter();
    this.#writer.closed.catch(() => {}); // the end of its output says why
    this.#words = firstWords(stream.stderr);
    this.#ofFiles = new Line({
      ...{ most: THREADS, patienceMs: filePatienceMs },
      stuck: (waiting) => this.#refuse(waiting),
    });
    this.#ofPaths = new Line({
      ...{ most: MOST_OF_PATHS, patienceMs },
      stuck: (waiting) => {
        this.#stuck = true;
        this.#passOn(waiting);
      },
    });
    void this.#read();
    this.#rest();
  }

  /** Whether new work can be given to it. */
  get usable(): boolean {
    return !this.#failure && !this.#stuck && this.#givenUp.size < MOST_GIVEN_UP;
  }

  /**
   * Sends a request; rejects with a {@link Refusal}, a `HutchError`, or the signal's reason; with
   * {@link NotBegun} only if it is about a path.
   */
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
    clearTimeout(this.#timer);
    const line = "handle" in head ? this.#ofFiles : this.#ofPaths;
    line.add(id, { frame, late, resolve, reject });
    this.#sendOn();
    const abort = () => {
      if (this.#giveUp(id)) reject(signal?.reason);
    };
    signal?.addEventListener("abort", abort, { once: true });
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

  /** Sends what there is a thread for. */
  #sendOn(): void {
    const underWay = () => this.#pending.size + this.#givenUp.size;
    for (const line of [this.#ofFiles, this.#ofPaths]) {
      for (const [id, request] of line.take(underWay)) {
        this.#pending.set(id, request);
        this.#writer.write(request.frame).catch(() => {}); // as above
      }
    }
  }

  /** Whether there is such a request; the guest goes on with one that it has. */
  #giveUp(id: number): boolean {
    const begun = this.#pending.get(id);
    if (begun) {
      this.#pending.delete(id);
      this.#givenUp.set(id, begun.late);
      if (!this.usable) this.#passOn(this.#ofPaths.clear());
    } else if (!this.#ofFiles.delete(id) && !this.#ofPaths.delete(id)) {
      return false;
    }
    this.#rest();
    return true;
  }

  /** Whatever its threads do takes too long: another process is asked. */
  #passOn(waiting: readonly Pending[]): void {
    for (const { reject } of waiting) reject(new NotBegun("the process is busy"));
    this.#rest();
  }

  /** The same, for what no other process can do. */
  #refuse(waiting: readonly Pending[]): void {
    const error = new HutchError(
      "guest_failed",
      `Cannot go on with the box's open files: ${THREADS} operations on its files hang`,
      { hint: "give them up, or close the files" },
    );
    for (const { reject } of waiting) reject(error);
    this.#rest();
  }

  /** Nothing to do: it goes after a while. */
  #rest(): void {
    clearTimeout(this.#timer);
    const waited = !this.#ofFiles.empty || !this.#ofPaths.empty;
    if (this.#failure || waited || this.#pending.size > 0 || this.#handles > 0) return;
    const timer = setTimeout(() => void this.close(), LINGER_MS);
    Deno.unrefTimer(timer);
    this.#timer = timer;
  }

  /** What has numbers of requests. */
  get #ids(): readonly { has(id: number): boolean }[] {
    return [this.#pending, this.#givenUp, this.#ofFiles, this.#ofPaths];
  }

  #next(): number {
    do {
      this.#id = this.#id === MAX_ID ? 1 : this.#id + 1;
    } while (this.#ids.some((each) => each.has(this.#id)));
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
      if (errno === undefined) late?.(frame, this);
    } else {
      throw broken(`it answers request ${id}, which there isn't`);
    }
    this.#sendOn();
    this.#rest();
  }

  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    clearTimeout(this.#timer);
    const waiting = [...this.#ofFiles.clear(), ...this.#ofPaths.clear()];
    for (const { reject } of [...this.#pending.values(), ...waiting]) reject(error);
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
