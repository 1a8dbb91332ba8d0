/**
 * One client of the relay: its connection, its streams, and what waits to be written to it.
 *
 * @module
 */
import type { Block, BlockReader, ByteSource } from "../guest/blocks.ts";
import { type ByteSink, SendQueue } from "../guest/send_queue.ts";
import type { HeldStream } from "./attachment.ts";
import type { RelayStream, StreamOwner } from "./relay_streams.ts";

/** A connection as the relay needs it; `Deno.Conn` is one. */
export interface RelayConn extends ByteSource, ByteSink {
  /** Ends it; reads and writes under way fail. */
  close(): void;
}

/** Parts of a block from this size on are written from it, smaller ones are copied. */
const BY_REFERENCE = 64 * 1024;
/** The relay's own frames that may wait for the end of a frame of the agent, in bytes. */
const MOST_LATER = 64 * 1024;

/** A client, from accept to its end. */
export class RelayClient implements StreamOwner {
  readonly conn: RelayConn;
  readonly queue: SendQueue;
  /** Streams by the client's numbers, until the agent's CLOSE. */
  readonly streams: Map<number, RelayStream<StreamOwner>> = new Map();
  /** Streams that the box process itself answers, by the client's numbers. */
  readonly held: Map<number, HeldStream> = new Map();
  /** Whether it is told nothing any more. */
  gone = false;
  /** Whether it was sent HELLO. */
  greeted = false;
  readonly #failed: (client: RelayClient) => void;
  #inFrame = false;
  #between: (() => void)[] = [];
  #later: Uint8Array[] = [];
  #laterBytes = 0;

  /** Serves `conn`; `failed` is called when it can't be written to. */
  constructor(conn: RelayConn, failed: (client: RelayClient) => void) {
    this.conn = conn;
    this.#failed = failed;
    this.queue = new SendQueue(conn, () => failed(this));
  }

  /** Whether no frame of the agent has come in part. */
  get between(): boolean {
    return !this.#inFrame;
  }

  /** Resolves when that is so, or the client is gone. */
  untilBetween(): Promise<void> {
    if (this.between || this.gone) return Promise.resolve();
    return new Promise((resolve) => this.#between.push(resolve));
  }

  /** It can't be served any more: it is let go, in a moment. */
  fail(): void {
    queueMicrotask(() => this.#failed(this));
  }

  /** Passes bytes of the reader's block on; `whole` says whether they end a frame. */
  forward(reader: BlockReader, from: number, to: number, whole: boolean): void {
    const bytes = reader.block.bytes.subarray(from, to);
    if (bytes.length >= BY_REFERENCE) {
      const block: Block = reader.hold();
      this.queue.push(bytes, () => reader.release(block));
    } else {
      this.queue.copy(bytes);
    }
    this.#inFrame = !whole;
    if (whole && this.#later.length > 0) this.#flushLater();
    if (whole && this.#between.length > 0) this.#wake();
  }

  /**
   * Sends a frame of the relay's own, never within another one.
   *
   * @returns false if too much waits already
   */
  say(frame: Uint8Array): boolean {
    if (!this.#inFrame) {
      this.queue.copy(frame);
      return true;
    }
    this.#laterBytes += frame.length;
    this.#later.push(frame);
    return this.#laterBytes <= MOST_LATER;
  }

  /** Ends the connection; what waits is dropped. */
  end(): void {
    this.gone = true;
    this.#later = [];
    this.queue.stop();
    this.conn.close();
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#between.splice(0)) resolve();
  }

  #flushLater(): void {
    for (const frame of this.#later) this.queue.copy(frame);
    this.#later = [];
    this.#laterBytes = 0;
  }
}
