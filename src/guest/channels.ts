/**
 * A stream's channels as web streams: what comes from the guest, and what goes to it.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { ByteQueue, type Keep } from "./byte_queue.ts";
import { writeHeader } from "./codec.ts";
import { Channel, END, FrameType, HEADER_SIZE, MAX_PAYLOAD, WINDOW } from "./protocol.ts";
import type { StreamRules } from "./stream_rules.ts";

/** Bytes given back at once: often enough that the sender never waits for it, and no more often. */
const GRANT = WINDOW / 2;

/** Bytes from the guest. At most a window of them waits; reading gives credit back. */
export class InChannel {
  readonly #queue = new ByteQueue();
  readonly #grant: (count: number) => void;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #wake: (() => void) | undefined;
  #ended = false;
  #error: HutchError | undefined;
  #dropping = false;
  #consumed = 0;

  /** `grant` gives bytes back to the sender. */
  constructor(grant: (count: number) => void) {
    this.#grant = grant;
  }

  /** Whether no more bytes come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Bytes that wait for the reader. */
  get queuedBytes(): number {
    return this.#queue.length;
  }

  /** The most bytes that ever waited. */
  get peakBytes(): number {
    return this.#queue.peak;
  }

  /** The bytes; made when first asked for. Cancelling it drops what comes, and credits it. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    this.#readable ??= new ReadableStream({
      pull: (controller) => this.#pull(controller),
      cancel: () => this.#drop(),
    }, { highWaterMark: 0 });
    return this.#readable;
  }

  /**
   * Waits for bytes and copies what there is, as far as it fits: how many; 0 at the end. Instead of
   * {@link InChannel.readable}, whose chunks are new memory each. Throws what the channel failed with.
   */
  async read(into: Uint8Array<ArrayBuffer>): Promise<number> {
    while (this.#queue.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const count = this.#queue.take(into);
    this.#consume(count);
    if (count === 0 && this.#error) throw this.#error;
    return count;
  }

  /** Takes bytes; `keep` as of {@link ByteQueue.add}. */
  push(part: Uint8Array<ArrayBuffer>, keep: Keep): void {
    if (this.#dropping) return this.#consume(part.length);
    this.#queue.add(part, keep);
    this.#notify();
  }

  /** No more bytes come; what waits can still be read. */
  end(): void {
    this.#ended = true;
    this.#notify();
  }

  /** No more bytes come, for a reason; what waits can still be read. */
  fail(error: HutchError): void {
    if (this.#ended) return;
    this.#error = error;
    this.end();
  }

  async #pull(controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>): Promise<void> {
    // A pull that gives nothing would be the last one.
    while (this.#queue.length === 0 && !this.#ended && !this.#dropping) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    if (this.#dropping) return;
    const chunk = this.#queue.shift();
    if (chunk) {
      controller.enqueue(chunk);
      this.#consume(chunk.length);
    }
    if (!this.#ended || this.#queue.length > 0) return;
    if (!this.#error) controller.close();
    else if (!chunk) controller.error(this.#error);
  }

  #drop(): void {
    this.#dropping = true;
    this.#consume(this.#queue.clear());
    this.#notify();
  }

  #consume(count: number): void {
    this.#consumed += count;
    if (this.#ended || this.#consumed < GRANT) return;
    this.#grant(this.#consumed);
    this.#consumed = 0;
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}

/**
 * Bytes to the guest's standard input, as its credit allows. What is written while a frame is on its way
 * leaves together in the next one: large frames cost the guest less, and most sources give small chunks.
 */
export class OutChannel {
  readonly #stream: number;
  readonly #rules: StreamRules;
  readonly #send: (frame: Uint8Array<ArrayBuffer>) => Promise<void>;
  #writable: WritableStream<Uint8Array> | undefined;
  #controller: WritableStreamDefaultController | undefined;
  /** The next frame: room for its header, then what was written. */
  #frame: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** Bytes written into it. */
  #filled = 0;
  /** Memory of the frame before, which has left. */
  #spare: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #sending: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;
  #over: (() => HutchError) | undefined;
  #closed = false;
  #aborted = false;

  /** Sends on `stream`; `send` resolves once the frame's memory may change, and never rejects. */
  constructor(
    stream: number,
    rules: StreamRules,
    send: (frame: Uint8Array<ArrayBuffer>) => Promise<void>,
  ) {
    this.#stream = stream;
    this.#rules = rules;
    this.#send = send;
  }

  /**
   * Where the bytes are written to; made when first asked for. At most a frame of them waits here for
   * credit. Closing it ends the command's standard input behind all of them, aborting it behind those that
   * the command has room for. It fails with `broken_pipe` once the command closed it or ended.
   */
  get writable(): WritableStream<Uint8Array> {
    this.#writable ??= new WritableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        // `abort` itself is called only after the write under way, which may wait for credit.
        controller.signal.addEventListener("abort", () => this.#abort());
        if (this.#over) controller.error(this.#over());
      },
      write: (chunk) => this.#write(chunk),
      close: () => this.#end(),
      abort: () => this.#end(),
    });
    return this.#writable;
  }

  /** The agent gave credit. */
  credited(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Nobody reads any more; writes fail from now on, for a reason that few inputs are ever asked for. */
  stop(why: () => HutchError): void {
    if (this.#over) return;
    this.#over = why;
    if (!this.#closed) this.#controller?.error(why());
    this.#wakeAll();
  }

  #abort(): void {
    this.#aborted = true;
    this.#wakeAll();
  }

  #wakeAll(): void {
    this.credited();
    this.#hasRoom();
  }

  #hasRoom(): void {
    const wake = this.#wakeWriter;
    this.#wakeWriter = undefined;
    wake?.();
  }

  async #write(chunk: Uint8Array): Promise<void> {
    let at = 0;
    while (at < chunk.length) {
      while (this.#filled === MAX_PAYLOAD && !this.#over && !this.#aborted) {
        await new Promise<void>((resolve) => this.#wakeWriter = resolve);
      }
      if (this.#aborted) return;
      this.#throwIfOver();
      const count = Math.min(chunk.length - at, MAX_PAYLOAD - this.#filled);
      this.#add(chunk.subarray(at, at + count));
      at += count;
      this.#sending ??= this.#sendAll();
    }
  }

  #add(bytes: Uint8Array): void {
    const size = HEADER_SIZE + this.#filled + bytes.length;
    if (this.#frame.length < size) {
      const grown = new Uint8Array(Math.min(size * 2, HEADER_SIZE + MAX_PAYLOAD));
      grown.set(this.#frame.subarray(0, HEADER_SIZE + this.#filled));
      this.#frame = grown;
    }
    this.#frame.set(bytes, HEADER_SIZE + this.#filled);
    this.#filled += bytes.length;
  }

  /** Sends what was written, until nothing waits; or returns at once where nothing can be sent any more. */
  async #sendAll(): Promise<void> {
    while (this.#filled > 0) {
      while (!this.#over && !this.#aborted && this.#rules.stdinCredit === 0) {
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
      const count = Math.min(this.#filled, this.#rules.stdinCredit);
      if (this.#over || count === 0) break;
      const frame = this.#frame;
      const rest = frame.subarray(HEADER_SIZE + count, HEADER_SIZE + this.#filled);
      this.#frame = this.#spare;
      this.#filled = 0;
      if (rest.length > 0) this.#add(rest);
      this.#hasRoom();
      await this.#sendFrame(frame, count, 0);
      this.#spare = frame;
    }
    this.#sending = undefined;
  }

  async #end(): Promise<void> {
    this.#closed = true;
    await this.#sending;
    if (this.#over && this.#filled > 0 && !this.#aborted) throw this.#over();
    // A command that ended has no use for the end of its input.
    if (!this.#over) await this.#sendFrame(new Uint8Array(HEADER_SIZE), 0, END);
  }

  /** Its payload is there already: one copy costs less than a write of its own for the header. */
  async #sendFrame(frame: Uint8Array<ArrayBuffer>, length: number, flags: number): Promise<void> {
    const type = FrameType.DATA;
    const header = { length, stream: this.#stream, type, flags: Channel.STDIN | flags };
    writeHeader(new DataView(frame.buffer), 0, header);
    this.#rules.sent(length);
    await this.#send(frame.subarray(0, HEADER_SIZE + length));
  }

  #throwIfOver(): void {
    if (this.#over) throw this.#over();
  }
}
