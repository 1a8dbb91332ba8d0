/**
 * The box process's own connection to its relay: it asks the guest as any client can.
 *
 * @module
 */
import { BlockReader, FrameScanner } from "../guest/blocks.ts";
import { makeFrame } from "../guest/codec.ts";
import { BACKGROUND, FrameType } from "../guest/protocol.ts";
import { RelayConnection } from "./relay_connection.ts";

/** Who gets what the guest sends on a stream. */
export interface GuestStreamOwner {
  /** Takes bytes of the reader's block: a frame, or a part of a DATA frame, from its header on. */
  forward(reader: BlockReader, from: number, to: number): void;
}

/** What the guest says to everybody; called once each, with the whole frame. */
export interface GuestWords {
  readonly hello: (frame: Uint8Array<ArrayBuffer>) => void;
  readonly goodbye: (frame: Uint8Array<ArrayBuffer>) => void;
}

/** Size of the blocks that the guest's bytes are read into. */
const BLOCK_SIZE = 256 * 1024;
const MAX_STREAM = 0xffffffff;

/** See the module. What comes was judged by the relay. */
export class GuestLink {
  readonly #connection: RelayConnection;
  readonly #words: GuestWords;
  readonly #owners: Map<number, GuestStreamOwner> = new Map();
  readonly #ready = Promise.withResolvers<boolean>();
  readonly #ended = Promise.withResolvers<void>();
  #number = 0;

  /** Serves a connection to the relay. */
  constructor(conn: Deno.Conn, words: GuestWords) {
    this.#connection = new RelayConnection(conn);
    this.#words = words;
    void this.#read();
  }

  /** Resolves, never rejects, when the relay has ended. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Asks for something on a new stream, and gives its number. */
  open(
    owner: GuestStreamOwner,
    payload: Uint8Array,
    { background }: { readonly background: boolean },
  ): number {
    do this.#number = this.#number === MAX_STREAM ? 1 : this.#number + 1; while (
      this.#owners.has(this.#number)
    );
    this.#owners.set(this.#number, owner);
    this.send(makeFrame(FrameType.OPEN, this.#number, payload, background ? BACKGROUND : 0));
    return this.#number;
  }

  /** Sends a frame on a stream that was opened. */
  send(frame: Uint8Array): void {
    this.#connection.queue.copy(frame);
  }

  /**
   * Asks for something that has one answer, once the agent is there; gives whether it answered,
   * whatever that was, before the relay ended.
   */
  async ask(
    payload: Uint8Array,
    options: { readonly background: boolean },
  ): Promise<boolean> {
    if (!await this.#ready.promise) return false;
    const answered = Promise.withResolvers<boolean>();
    this.open({ forward: () => answered.resolve(true) }, payload, options);
    return await Promise.race([answered.promise, this.ended.then(() => false)]);
  }

  /** Ends it; idempotent. */
  close(): void {
    this.#connection.close();
  }

  async #read(): Promise<void> {
    const reader = new BlockReader(this.#connection.conn, { blockSize: BLOCK_SIZE });
    const scanner = new FrameScanner(reader, "agent");
    let receiver: GuestStreamOwner | undefined;
    try {
      while (await reader.more()) {
        while (scanner.next()) {
          const { type, stream } = scanner.header;
          if (scanner.begins) receiver = this.#owners.get(stream);
          if (stream === 0) this.#said(type, reader.block.bytes.slice(scanner.from, scanner.to));
          else receiver?.forward(reader, scanner.from, scanner.to);
          if (type === FrameType.CLOSE) this.#owners.delete(stream);
        }
      }
    } catch (error) {
      this.#connection.failed(error);
    }
    this.#ready.resolve(false);
    this.#ended.resolve();
    this.close();
  }

  #said(type: number, frame: Uint8Array<ArrayBuffer>): void {
    if (type === FrameType.GOODBYE) return this.#words.goodbye(frame);
    this.#words.hello(frame);
    this.#ready.resolve(true);
  }
}
