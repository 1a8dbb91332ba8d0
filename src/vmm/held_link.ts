/**
 * The box process's connection to its relay as the one who answers clients that ask for held
 * commands: it speaks as an agent does.
 *
 * @module
 */
import { FrameReader } from "../guest/frame_reader.ts";
import { BACKGROUND, FrameType } from "../guest/protocol.ts";
import type { GuestLink } from "./guest_link.ts";
import type { HeldExecutions, HeldOptions } from "./held.ts";
import { RelayConnection } from "./relay_connection.ts";

/** See the module. */
export class HeldLink {
  readonly #connection: RelayConnection;
  readonly #guest: GuestLink;
  readonly #options: HeldOptions;
  /** Made when first needed: most boxes hold nothing, and an idle one is to be small. */
  #held: HeldExecutions | undefined;

  /** Serves a connection to the relay. */
  constructor(conn: Deno.Conn, guest: GuestLink, options?: HeldOptions) {
    this.#connection = new RelayConnection(conn);
    this.#guest = guest;
    this.#options = options ?? { log: { write: () => {}, end: () => {} } };
    void this.#read();
  }

  /** Whether a command was ever held. */
  get used(): boolean {
    return this.#held !== undefined;
  }

  /** Resolves when all that was said so far has gone to the relay, or never will. */
  async said(): Promise<void> {
    await this.#connection.queue.drained();
  }

  /** Ends it; idempotent. */
  close(): void {
    this.#connection.close();
  }

  async #read(): Promise<void> {
    const reader = new FrameReader(this.#connection.conn, "host");
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
      this.#connection.failed(error);
    }
    this.#held?.gone();
    this.close();
  }

  async #load(): Promise<HeldExecutions> {
    const { HeldExecutions } = await import("./held.ts");
    return new HeldExecutions(this.#guest, this.#connection.queue, this.#options);
  }
}
