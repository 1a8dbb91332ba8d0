/**
 * The relay's table of streams: which client, and which number at that client, a stream of the
 * guest belongs to.
 *
 * @module
 */
import type { BlockReader } from "../guest/blocks.ts";
import { MAX_STREAMS } from "../guest/protocol.ts";
import { StreamRules } from "../guest/stream_rules.ts";

/** Who gets what the agent sends on a stream. */
export interface StreamOwner {
  /** Whether it is told nothing any more. */
  readonly gone: boolean;
  /** Streams by its own numbers, until the agent's CLOSE. */
  readonly streams: Map<number, RelayStream<StreamOwner>>;
  /** Takes bytes of the reader's block, from a frame's header on; `whole`: they end a frame. */
  forward(reader: BlockReader, from: number, to: number, whole: boolean): void;
}

/** One stream that the agent has, from OPEN to its CLOSE. */
export class RelayStream<Client> {
  readonly rules: StreamRules = new StreamRules();
  /** Whether the host sent CLOSE: what comes before the agent's CLOSE is dropped. */
  closing = false;
  readonly client: Client;
  /** Number at the client. */
  readonly clientNumber: number;
  /** Number at the agent, 1 to {@link MAX_STREAMS}. */
  readonly guestNumber: number;
  /** Whether it is no activity of the box. */
  readonly background: boolean;

  /** Ties the numbers together. */
  constructor(client: Client, clientNumber: number, guestNumber: number, background: boolean) {
    this.background = background;
    this.client = client;
    this.clientNumber = clientNumber;
    this.guestNumber = guestNumber;
  }
}

/** All streams of a guest, by the agent's numbers. */
export class RelayStreams<Client> {
  readonly #byNumber: (RelayStream<Client> | undefined)[] = new Array(MAX_STREAMS + 1);
  /** Numbers that were used and are free again, oldest first: a number rests as long as it can. */
  readonly #free: number[] = [];
  #unused = 1;
  #count = 0;
  #active = 0;
  #idleSinceMs: number | undefined;

  /** Streams that are open. */
  get count(): number {
    return this.#count;
  }

  /**
   * Since when nothing but background streams is open, on the clock of `performance.now()`;
   * undefined while something is, and before the first: a guest that boots isn't idle.
   */
  get idleSinceMs(): number | undefined {
    return this.#active > 0 ? undefined : this.#idleSinceMs;
  }

  /** The stream with the agent's `number`. */
  get(number: number): RelayStream<Client> | undefined {
    return this.#byNumber[number];
  }

  /** A new stream, or undefined if the guest has as many as it may. */
  add(
    client: Client,
    clientNumber: number,
    background: boolean,
  ): RelayStream<Client> | undefined {
    const number = this.#unused <= MAX_STREAMS ? this.#unused++ : this.#free.shift();
    if (number === undefined) return undefined;
    const stream = new RelayStream(client, clientNumber, number, background);
    this.#byNumber[number] = stream;
    this.#count++;
    if (!background) this.#active++;
    return stream;
  }

  /** Frees a stream's number, once the agent sent its CLOSE. */
  remove(stream: RelayStream<Client>): void {
    if (this.#byNumber[stream.guestNumber] !== stream) return;
    this.#byNumber[stream.guestNumber] = undefined;
    this.#free.push(stream.guestNumber);
    this.#count--;
    if (stream.background) return;
    this.#active--;
    this.#idleSinceMs = performance.now();
  }
}
