/**
 * The relay's library, see `ffi/relay/relay.h`.
 *
 * @module
 */
import { BoxLibrary } from "./box_library.ts";

/** Why a relay ended, by the number that the library gives. */
const REASONS = ["closed", "agent_closed", "agent_lost", "agent_protocol"] as const;

/** Why a relay ended. */
export interface RelayEnd {
  /**
   * `agent_closed`: the agent's connection ended. `agent_lost`: it failed. `agent_protocol`: the
   * guest broke the protocol, and its box should be ended. `closed`: by {@link RelayThread.close}.
   */
  readonly why: typeof REASONS[number];
  /** For people. */
  readonly message: string;
}

/** A relay's figures, each as it is at some moment; times are on the clock of `performance.now()`. */
export interface RelayState {
  /** Clients that are connected. */
  readonly clients: number;
  /** Streams that the guest has open. */
  readonly streams: number;
  /** Bytes passed on so far, both ways. */
  readonly bytes: number;
  /** Bytes that wait to be written to clients, in all. */
  readonly queuedBytes: number;
  /**
   * Since when nothing but background streams is open, in `ms`; undefined while something is, and
   * before the first: a guest that boots isn't idle.
   */
  readonly idleSinceMs: number | undefined;
  /** When bytes last came from anywhere, in `ms`. */
  readonly lastTrafficMs: number;
}

/** A relay that runs, on a thread of its own. */
export class RelayThread {
  readonly #library: BoxLibrary;
  /** Calls that are under way on other threads. */
  readonly #draining: Set<Promise<void>> = new Set();
  readonly #figures = new BigUint64Array(7);
  /** Between the library's clock and that of `performance.now()`, in `ms`. */
  readonly #clockMs: number;
  #relay: bigint;
  #end: RelayEnd | undefined;

  /**
   * Listens on both paths, and serves whoever comes.
   *
   * @param library The library's file.
   * @param paths `transfer`: a descriptor of a file for the transfer disk, which it takes over. @default {it makes one}
   * @throws Error when the paths can't be listened on.
   */
  constructor(
    library: string,
    { clients, channel, transfer = -1 }: {
      readonly clients: string;
      readonly channel: string;
      readonly transfer?: number | undefined;
    },
  ) {
    this.#library = new BoxLibrary(library);
    const made = new BigUint64Array(1);
    const result = this.#symbols.hutch_relay_open(path(clients), path(channel), transfer, made);
    if (result < 0) {
      this.#library[Symbol.dispose]();
      throw new Error(`the sockets ${clients} and ${channel} can't be made: errno ${-result}`);
    }
    this.#relay = made[0] ?? 0n;
    this.#symbols.hutch_relay_state(this.#relay, this.#figures);
    this.#clockMs = performance.now() - Number(this.#figures[0] ?? 0n) / 1e6;
  }

  get #symbols() {
    return this.#library.symbols;
  }

  /** The file that may be the guest's transfer disk, as a path for programs; undefined where there is none. */
  get transferPath(): string | undefined {
    if (this.#relay === 0n) return undefined;
    const fd = this.#symbols.hutch_relay_transfer(this.#relay);
    return fd < 0 ? undefined : `/proc/${Deno.pid}/fd/${fd}`;
  }

  /** Its figures; the last ones once it is closed. */
  get state(): RelayState {
    if (this.#relay !== 0n) this.#symbols.hutch_relay_state(this.#relay, this.#figures);
    const [, clients, streams, bytes, queued, idle, traffic] = Array.from(this.#figures, Number);
    const ms = (ns = 0) => ns / 1e6 + this.#clockMs;
    return {
      clients: clients ?? 0,
      streams: streams ?? 0,
      bytes: bytes ?? 0,
      queuedBytes: queued ?? 0,
      idleSinceMs: idle === 0 ? undefined : ms(idle),
      lastTrafficMs: ms(traffic),
    };
  }

  /** Why it ended; undefined while it goes on. */
  get end(): RelayEnd | undefined {
    if (this.#end || this.#relay === 0n) return this.#end;
    const text = new Uint8Array(256);
    const why = this.#symbols.hutch_relay_ended(this.#relay, text, text.length);
    const reason = REASONS[why - 1];
    if (!reason) return undefined;
    const message = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
    return this.#end = { why: reason, message };
  }

  /** Closes the guest's connection, which it waits for once it said goodbye. */
  part(): void {
    if (this.#relay !== 0n) this.#symbols.hutch_relay_part(this.#relay);
  }

  /** Waits until clients have been sent what waits for them, at most `limitMs`. */
  async drain(limitMs: number): Promise<void> {
    if (this.#relay === 0n) return;
    const call = this.#symbols.hutch_relay_drain(this.#relay, limitMs);
    this.#draining.add(call);
    await call;
    this.#draining.delete(call);
  }

  /** Gives memory back that the process has needed to start. */
  trim(): void {
    this.#symbols.hutch_relay_trim();
  }

  /** Ends all connections and the thread; idempotent. */
  close(): void {
    if (this.#relay === 0n) return;
    const relay = this.#relay;
    this.#end = this.end ?? { why: "closed", message: "the relay was closed" };
    this.#symbols.hutch_relay_state(relay, this.#figures);
    this.#relay = 0n;
    this.#symbols.hutch_relay_close(relay); // ends those calls
    void Promise.all(this.#draining).then(() => this.#library[Symbol.dispose]());
  }
}

function path(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
