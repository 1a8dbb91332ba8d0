/**
 * The box process's connection to its relay as the one who answers clients that ask for held
 * commands: it speaks as an agent does.
 *
 * @module
 */
import { FrameReader } from "../guest/frame_reader.ts";
import { BACKGROUND, FrameType } from "../guest/protocol.ts";
import { SendQueue } from "../guest/send_queue.ts";
import type { GuestLink } from "./guest_link.ts";
import type { HeldExecutions, HeldOptions } from "./held.ts";

/** See the module. */
export class HeldLink {
  readonly #conn: Deno.Conn;
  readonly #guest: GuestLink;
  readonly #options: HeldOptions;
  readonly #queue: SendQueue;
  /** Made when first needed: most boxes hold nothing, and an idle one is to be small. */
  #held: HeldExecutions | undefined;
  #closed = false;

  /** Serves a connection to the relay. */
  constructor(conn: Deno.Conn, guest: GuestLink, options?: HeldOptions) {
    this.#conn = conn;
    this.#guest = guest;
    this.#options = options ?? { log: { write: () => {}, end: () => {} } };
    this.#queue = new SendQueue(conn, () => {}); // reading finds out too
    void this.#read();
  }

  /** Resolves when all that was said so far has gone to the relay, or never will. */
  async said(): Promise<void> {
    await this.#queue.drained();
  }

  /** Ends it; idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue.stop();
    this.#conn.close();
  }

  async #read(): Promise<void> {
    const reader = new FrameReader(this.#conn, "host");
    try {
      while (await reader.fill()) {
        while (reader.next()) {
          const { type, stream, flags } = reader.header;
          const held = this.#held ??= await this.#load();
          if (type !== FrameType.OPEN) held.take(stream, reader);
          else held.open(stream, reader.payload.slice(), (flags & BACKGROUND) !== 0);
        }
        if (reader.problem !== undefined) throw new Error(reader.problem);
      }
    } catch (error) {
      if (!this.#closed) console.error(error);
    }
    this.#held?.gone();
    this.close();
  }

  async #load(): Promise<HeldExecutions> {
    const { HeldExecutions } = await import("./held.ts");
    return new HeldExecutions(this.#guest, this.#queue, this.#options);
  }
}
