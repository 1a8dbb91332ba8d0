/**
 * The relay of a box process: serves any number of clients and one agent on a thread of its own (see
 * `ffi/relay/relay.h`), and lets the box process ask the guest and hold commands.
 *
 * @module
 */
import { type RelayEnd, type RelayState, RelayThread } from "../../ffi/relay.ts";
import { HEADER_SIZE } from "../guest/protocol.ts";
import { GuestLink } from "./guest_link.ts";
import { HeldLink } from "./held_link.ts";
import type { HeldOptions } from "./held.ts";

export type { RelayEnd } from "../../ffi/relay.ts";

/** Options of {@link Relay.open}. */
export interface RelayOptions {
  /** The library with the relay. */
  readonly library: string;
  /** Unix socket for clients; what is there is replaced. */
  readonly socketPath: string;
  /** Unix socket for the agent, which comes after `open` has resolved; what is there is replaced. */
  readonly channelPath: string;
  /** A descriptor of a file for the transfer disk, which it takes over. @default {it makes one} */
  readonly transfer?: number | undefined;
  /** Called once with the payload of the agent's HELLO. */
  readonly onHello?: (payload: Uint8Array<ArrayBuffer>) => void;
  /** Called once with the payload of the agent's GOODBYE, before the guest ends. */
  readonly onGoodbye?: (payload: Uint8Array<ArrayBuffer>) => void;
  /** For commands that are held here. @default {their output is written down nowhere} */
  readonly held?: HeldOptions;
}

/**
 * Serves clients, and the agent once it comes. Memory is bounded by credit: at most a window per
 * stream and channel waits for a client that doesn't read, and a guest that sends more is reported as
 * `agent_protocol`.
 *
 * @example
 * ```ts
 * async function relay(library: string, folder: string): Promise<void> {
 *   const relay = await Relay.open({
 *     library, socketPath: `${folder}/box.sock`, channelPath: `${folder}/channel.sock`,
 *   });
 *   await relay.ended;
 *   await relay.drain(1000);
 *   relay.close();
 * }
 * ```
 */
export class Relay {
  readonly #thread: RelayThread;
  readonly #guest: GuestLink;
  readonly #held: HeldLink;
  readonly #ended: Promise<RelayEnd>;
  #hello: Uint8Array<ArrayBuffer> | undefined;
  #goodbye: Uint8Array<ArrayBuffer> | undefined;

  private constructor(
    thread: RelayThread,
    conns: { readonly client: Deno.Conn; readonly holder: Deno.Conn },
    { onHello, onGoodbye, held }: RelayOptions,
  ) {
    this.#thread = thread;
    this.#guest = new GuestLink(conns.client, {
      hello: (frame) => {
        this.#hello = frame.subarray(HEADER_SIZE);
        onHello?.(this.#hello);
      },
      goodbye: (frame) => {
        this.#goodbye = frame.subarray(HEADER_SIZE);
        onGoodbye?.(this.#goodbye);
        // The agent waits for this: the guest mustn't end before its goodbye was heard.
        thread.part();
      },
    });
    this.#held = new HeldLink(conns.holder, this.#guest, held);
    this.#ended = this.#guest.ended.then(() =>
      thread.end ?? { why: "agent_lost", message: "the relay gave up" }
    );
  }

  /**
   * Starts to accept clients, and the agent.
   *
   * @throws Error when the sockets can't be made, or the library isn't there.
   */
  static async open(options: RelayOptions): Promise<Relay> {
    const { library, socketPath, channelPath, transfer } = options;
    const thread = new RelayThread(library, {
      clients: socketPath,
      channel: channelPath,
      transfer,
    });
    const conns: Deno.Conn[] = [];
    try {
      // The relay knows them by their order.
      const client = await Deno.connect({ transport: "unix", path: channelPath });
      conns.push(client);
      const holder = await Deno.connect({ transport: "unix", path: channelPath });
      conns.push(holder);
      return new Relay(thread, { client, holder }, options);
    } catch (error) {
      for (const conn of conns) conn.close();
      thread.close();
      throw error;
    }
  }

  /** Resolves, never rejects, when the agent is gone or the relay was closed. */
  get ended(): Promise<RelayEnd> {
    return this.#ended;
  }

  /** Payload of the agent's HELLO, once it came. */
  get hello(): Uint8Array<ArrayBuffer> | undefined {
    return this.#hello;
  }

  /** Payload of the agent's GOODBYE, once it came. */
  get goodbye(): Uint8Array<ArrayBuffer> | undefined {
    return this.#goodbye;
  }

  /** The guest, for the box process's own questions. */
  get guest(): GuestLink {
    return this.#guest;
  }

  /** See {@link RelayThread.transferPath}. */
  get transferPath(): string | undefined {
    return this.#thread.transferPath;
  }

  /** What goes on, in numbers. */
  get state(): RelayState {
    return this.#thread.state;
  }

  /** Whether nobody misses anything if it ends now: all clients have taken what was sent to them, no command was held. */
  get quiet(): boolean {
    return !this.#held.used && this.state.queuedBytes === 0;
  }

  /** Resolves when all that held commands have said so far is on its way to those who are joined. */
  async saidHeld(): Promise<void> {
    await this.#held.said();
  }

  /** Gives memory back that the process has needed to start. */
  trim(): void {
    this.#thread.trim();
  }

  /** Waits until clients have been sent what waits for them, at most `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    await this.#thread.drain(timeoutMs);
  }

  /** Ends all connections; idempotent. */
  close(): void {
    this.#thread.close();
    this.#guest.close();
    this.#held.close();
  }
}
