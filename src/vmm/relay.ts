/**
 * The relay of a box process: passes frames between one agent and any number of clients. It
 * rewrites stream numbers and holds the guest to the protocol's rules, which bound its memory; it
 * decodes no payload but CREDIT's count.
 *
 * @module
 */
import { BlockReader, FrameScanner } from "../guest/blocks.ts";
import { clearFlags, makeFrame, rewriteStream } from "../guest/codec.ts";
import { FrameReader } from "../guest/frame_reader.ts";
import { BACKGROUND, CHANNEL_MASK, FrameType, HEADER_SIZE, HELD } from "../guest/protocol.ts";
import { SendQueue } from "../guest/send_queue.ts";
import { cborTexts } from "./cbor_texts.ts";
import type { HeldExecutions, HeldOptions } from "./held.ts";
import { connectedPair } from "./connected_pair.ts";
import { RelayClient, type RelayConn } from "./relay_client.ts";
import { type RelayStream, RelayStreams, type StreamOwner } from "./relay_streams.ts";

export type { RelayConn } from "./relay_client.ts";

/** Where clients come from; a `Deno.UnixListener` is one. */
export interface RelayListener {
  /** Waits for a client; rejects once closed. */
  accept(): Promise<RelayConn>;
  /** Ends `accept`. */
  close(): void;
}

/** Why the relay's work ended. */
export interface RelayEnd {
  /**
   * `agent_closed`: the agent's connection ended. `agent_lost`: it failed. `agent_protocol`: the
   * guest broke the protocol, and its box should be ended. `closed`: by {@link Relay.close}.
   */
  readonly why: "agent_closed" | "agent_lost" | "agent_protocol" | "closed";
  /** For people. */
  readonly message: string;
}

/** Options of {@link Relay}. */
export interface RelayOptions {
  /** Called once with the payload of the agent's HELLO. */
  readonly onHello?: (payload: Uint8Array<ArrayBuffer>) => void;
  /** Called once with the payload of the agent's GOODBYE, before the guest ends. */
  readonly onGoodbye?: (payload: Uint8Array<ArrayBuffer>) => void;
  /** For commands that are held here. @default {their output is written down nowhere} */
  readonly held?: HeldOptions;
}

/** Size of the blocks that the agent's bytes are read into. */
const BLOCK_SIZE = 256 * 1024;
/** A client isn't read from while more than this waits to be written to it. */
const PAUSE = 4 * 1024 * 1024;
/** Clients at once, with those whose last frames are still on their way to the agent. */
const MAX_CLIENTS = 1024;

/** `{kind: "busy", errno: 0, message: "too many streams"}` as CBOR. */
const BUSY = cborTexts(["kind", "busy"], ["errno", 0], ["message", "too many streams"]);

/**
 * Serves clients from a listener, and the agent once {@link Relay.attach} gives its connection.
 * Memory is bounded by credit: at most a window per stream and channel waits for a client that
 * doesn't read, and a guest that sends more is reported as `agent_protocol`.
 *
 * @example
 * ```ts
 * const relay = new Relay(Deno.listen({ transport: "unix", path: "box.sock" }));
 * relay.attach(await agentListener.accept());
 * const end = await relay.ended;
 * await relay.drain(1000);
 * relay.close();
 * ```
 */
export class Relay {
  readonly #listener: RelayListener;
  readonly #options: RelayOptions;
  readonly #clients: Set<RelayClient> = new Set();
  readonly #streams: RelayStreams<StreamOwner> = new RelayStreams();
  /** Made when first needed: most boxes hold nothing, and an idle one is to be small. */
  #held: HeldExecutions | undefined;
  readonly #ended: PromiseWithResolvers<RelayEnd> = Promise.withResolvers();
  #serving = 0;
  #agent: RelayConn | undefined;
  #toAgent: SendQueue | undefined;
  #hello: Uint8Array<ArrayBuffer> | undefined;
  #goodbye: Uint8Array<ArrayBuffer> | undefined;
  #over = false;
  #closed = false;
  #bytes = 0;
  #lastTrafficMs = performance.now();
  /** Who gets the rest of the agent's frame that has come in part. */
  #receiver: StreamOwner | undefined;

  /** Starts to accept clients. */
  constructor(listener: RelayListener, options: RelayOptions = {}) {
    this.#listener = listener;
    this.#options = options;
    void this.#accept();
  }

  /** Resolves, never rejects, when the agent is gone or the relay was closed. */
  get ended(): Promise<RelayEnd> {
    return this.#ended.promise;
  }

  /** Payload of the agent's HELLO, once it came. */
  get hello(): Uint8Array<ArrayBuffer> | undefined {
    return this.#hello?.subarray(HEADER_SIZE);
  }

  /** Payload of the agent's GOODBYE, once it came. */
  get goodbye(): Uint8Array<ArrayBuffer> | undefined {
    return this.#goodbye?.subarray(HEADER_SIZE);
  }

  /** Clients that are connected. */
  get clients(): number {
    return this.#clients.size;
  }

  /** Streams that the agent has open. */
  get streams(): number {
    return this.#streams.count;
  }

  /** Bytes passed on so far, both ways. */
  get bytes(): number {
    return this.#bytes;
  }

  /** When bytes last came from anywhere, on the clock of `performance.now()`. */
  get lastTrafficMs(): number {
    return this.#lastTrafficMs;
  }

  /**
   * Since when nothing but background streams is open, on the clock of `performance.now()`;
   * undefined while something is, and before the first: a guest that boots isn't idle.
   */
  get idleSinceMs(): number | undefined {
    return this.#streams.idleSinceMs;
  }

  /** Bytes that wait to be written to clients, in all. */
  get queuedBytes(): number {
    let sum = 0;
    for (const client of this.#clients) sum += client.queue.queuedBytes;
    return sum;
  }

  /** Starts to serve the agent; a second connection is closed at once. */
  attach(agent: RelayConn): void {
    if (this.#agent || this.#over) return agent.close();
    this.#agent = agent;
    this.#toAgent = new SendQueue(
      agent,
      (error) => this.#end("agent_lost", `writing to the agent failed: ${String(error)}`),
    );
    void this.#readAgent(agent);
  }

  /** Waits until clients have been sent what waits for them, at most `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    const queues = [...this.#clients].map((client) => client.queue.drained());
    await Promise.race([Promise.all(queues), promise]);
    clearTimeout(timer);
  }

  /** Ends all connections and the listener; idempotent. */
  close(): void {
    this.#end("closed", "the relay was closed");
    if (this.#closed) return;
    this.#closed = true;
    this.#listener.close();
    for (const client of [...this.#clients]) this.#drop(client);
  }

  async #accept(): Promise<void> {
    for (;;) {
      let conn: RelayConn;
      try {
        conn = await this.#listener.accept();
      } catch (error) {
        if (this.#closed || error instanceof Deno.errors.BadResource) return;
        // Such as too many open files: it may pass, and mustn't be asked again at full speed.
        await new Promise((resolve) => setTimeout(resolve, 100));
        continue;
      }
      this.#take(conn);
    }
  }

  /** A client of this very process: its end of a connection without a socket. */
  connect(): RelayConn {
    const [ours, theirs] = connectedPair();
    this.#take(theirs);
    return ours;
  }

  #take(conn: RelayConn): void {
    if (this.#over || this.#serving >= MAX_CLIENTS) conn.close();
    else void this.#serve(new RelayClient(conn, (client) => this.#drop(client)));
  }

  /** Reads what a client sends, until it goes. */
  async #serve(client: RelayClient): Promise<void> {
    this.#serving++;
    this.#clients.add(client);
    this.#greet(client);
    const reader = new FrameReader(client.conn, "host");
    try {
      while (await reader.fill()) {
        this.#lastTrafficMs = performance.now();
        if (!await this.#passOn(client, reader)) break;
        if (client.queue.queuedBytes > PAUSE) await client.queue.drained(PAUSE);
      }
    } catch {
      // A connection that fails is a client that went away.
    }
    this.#serving--;
    this.#drop(client);
  }

  /** Sends the frames that were read to the agent; false when the client must go. */
  async #passOn(client: RelayClient, reader: FrameReader): Promise<boolean> {
    const toAgent = this.#toAgent;
    let runFrom = 0;
    let runTo = 0;
    let written: Promise<void> | undefined;
    let good = true;
    while (good && reader.next()) {
      if (!client.greeted || !toAgent) return false;
      if (!this.#held && reader.header.type === FrameType.OPEN && reader.header.flags & HELD) {
        // First what was routed: this client's end mustn't overtake it.
        if (runTo > runFrom) written = toAgent.send(reader.bytes.subarray(runFrom, runTo));
        runFrom = runTo = reader.from;
        await this.#loadHeld();
        if (client.gone) break;
      }
      const verdict = this.#route(client, reader);
      good = verdict !== "bad";
      if (verdict === "pass" && reader.from === runTo) {
        runTo = reader.to;
        continue;
      }
      // What was routed is sent even if the next frame is bad: the agent must know those streams.
      if (runTo > runFrom) written = toAgent.send(reader.bytes.subarray(runFrom, runTo));
      runFrom = verdict === "pass" ? reader.from : reader.to;
      runTo = reader.to;
    }
    if (runTo > runFrom) written = toAgent?.send(reader.bytes.subarray(runFrom, runTo));
    // Until it is written the bytes mustn't change; this is also what slows clients down.
    if (written) await written;
    return good && reader.problem === undefined && !client.gone;
  }

  /** Gives a client's frame the agent's stream number. */
  #route(client: RelayClient, reader: FrameReader): "pass" | "drop" | "bad" {
    const { type, stream: number, length, flags } = reader.header;
    let stream = client.streams.get(number);
    if (type === FrameType.OPEN) {
      if (stream || client.held.has(number)) return "bad";
      if ((flags & HELD) !== 0) return this.#openHeld(client, reader);
      stream = this.#streams.add(client, number, (flags & BACKGROUND) !== 0);
      if (!stream) return this.#refuse(client, number) ? "drop" : "bad";
      client.streams.set(number, stream);
      clearFlags(reader.view, reader.from);
    } else if (!stream) {
      const held = client.held.get(number);
      return !held || held.take(reader) ? "drop" : "bad"; // The agent's CLOSE crossed it.
    } else if (stream.closing) {
      return "drop"; // The client's own CLOSE crossed it.
    } else if (type === FrameType.DATA) {
      if ((flags & CHANNEL_MASK) !== 0) return "bad";
      if (length > stream.rules.stdinCredit) return "bad";
      stream.rules.sent(length);
    } else if (type === FrameType.CREDIT) {
      const count = reader.view.getUint32(reader.from + HEADER_SIZE);
      if (!stream.rules.granted(flags & CHANNEL_MASK, count)) return "bad";
    } else if (type === FrameType.CLOSE) {
      stream.closing = true;
    }
    rewriteStream(reader.view, reader.from, stream.guestNumber);
    this.#bytes += HEADER_SIZE + length;
    return "pass";
  }

  async #loadHeld(): Promise<void> {
    const { HeldExecutions } = await import("./held.ts");
    this.#held ??= new HeldExecutions({
      send: (frame) => this.#toAgent?.copy(frame),
      stream: (owner, background) => this.#streams.add(owner, 0, background),
    }, this.#options.held ?? { log: { write: () => {}, end: () => {} } });
  }

  #openHeld(client: RelayClient, reader: FrameReader): "drop" | "bad" {
    const { stream, flags } = reader.header;
    const background = (flags & BACKGROUND) !== 0;
    const payload = reader.payload.slice();
    return this.#held?.open(client, stream, { payload, background }) ? "drop" : "bad";
  }

  #refuse(client: RelayClient, number: number): boolean {
    return client.say(makeFrame(FrameType.ERROR, number, BUSY)) &&
      client.say(makeFrame(FrameType.CLOSE, number));
  }

  /** A client went, or must go: its streams end, nobody else's. */
  #drop(client: RelayClient): void {
    if (!this.#clients.delete(client)) return;
    client.end();
    for (const held of [...client.held.values()]) held.gone();
    for (const stream of client.streams.values()) {
      if (stream.closing) continue;
      stream.closing = true;
      this.#toAgent?.copy(makeFrame(FrameType.CLOSE, stream.guestNumber));
    }
  }

  #greet(client: RelayClient): void {
    if (client.greeted || !this.#hello) return;
    client.greeted = true;
    client.say(this.#hello);
    if (this.#goodbye) client.say(this.#goodbye);
  }

  async #readAgent(agent: RelayConn): Promise<void> {
    const reader = new BlockReader(agent, { blockSize: BLOCK_SIZE });
    const scanner = new FrameScanner(reader, "agent");
    try {
      while (await reader.more()) {
        this.#lastTrafficMs = performance.now();
        const problem = this.#scan(reader, scanner) ?? scanner.problem;
        if (problem !== undefined) return this.#end("agent_protocol", problem);
      }
    } catch (error) {
      return this.#end("agent_lost", `reading from the agent failed: ${String(error)}`);
    }
    if (scanner.between) this.#end("agent_closed", "the agent's connection ended");
    else this.#end("agent_lost", "the agent's connection ended within a frame");
  }

  /** Hands out what was read, in runs that go to the same client. */
  #scan(reader: BlockReader, scanner: FrameScanner): string | undefined {
    let run: StreamOwner | undefined;
    let runFrom = 0;
    let runTo = 0;
    let whole = true;
    let problem: string | undefined;
    const flush = () => {
      if (run && !run.gone) run.forward(reader, runFrom, runTo, whole);
      run = undefined;
    };
    while (problem === undefined && scanner.next()) {
      if (scanner.begins) {
        // GOODBYE goes to every client, after what came before it.
        if (scanner.header.stream === 0) flush();
        problem = this.#receive(reader, scanner);
      }
      if (this.#receiver !== run) {
        flush();
        run = this.#receiver;
        runFrom = scanner.from;
      }
      runTo = scanner.to;
      whole = scanner.ends;
    }
    flush();
    return problem;
  }

  /** Judges a frame of the agent and finds who gets it; returns what is wrong. */
  #receive(reader: BlockReader, scanner: FrameScanner): string | undefined {
    const { type, stream: number, flags, length } = scanner.header;
    this.#bytes += HEADER_SIZE + length;
    this.#receiver = undefined;
    if (number === 0) return this.#connectionFrame(reader, scanner);
    if (!this.#hello) return "a frame came before HELLO";
    const stream = this.#streams.get(number);
    if (!stream) return `a frame came for stream ${number}, which isn't open`;
    const { view } = reader.block;
    const credit = type === FrameType.CREDIT ? view.getUint32(scanner.payloadFrom) : 0;
    const problem = stream.rules.receive(type, flags, length, credit);
    if (problem !== undefined) return `stream ${number}: ${problem}`;
    if (type === FrameType.CLOSE) this.#forget(stream);
    else if (stream.closing) return undefined;
    if (stream.client.gone) return undefined;
    rewriteStream(view, scanner.from, stream.clientNumber);
    this.#receiver = stream.client;
    return undefined;
  }

  #forget(stream: RelayStream<StreamOwner>): void {
    this.#streams.remove(stream);
    stream.client.streams.delete(stream.clientNumber);
  }

  #connectionFrame(reader: BlockReader, scanner: FrameScanner): string | undefined {
    const frame = reader.block.bytes.slice(scanner.from, scanner.to);
    if (scanner.header.type === FrameType.HELLO) {
      if (this.#hello) return "HELLO came twice";
      this.#hello = frame;
      for (const client of this.#clients) this.#greet(client);
      this.#options.onHello?.(frame.subarray(HEADER_SIZE));
      return undefined;
    }
    if (!this.#hello) return "GOODBYE came before HELLO";
    if (this.#goodbye) return "GOODBYE came twice";
    this.#goodbye = frame;
    for (const client of this.#clients) client.say(frame);
    this.#options.onGoodbye?.(frame.subarray(HEADER_SIZE));
    // The agent waits for this: the guest mustn't end before its goodbye was heard.
    this.#end("agent_closed", "the agent said goodbye");
    return undefined;
  }

  /** The agent is gone: clients get what was queued for them, then their connections end. */
  #end(why: RelayEnd["why"], message: string): void {
    if (this.#over) return;
    this.#over = true;
    this.#toAgent?.stop();
    this.#agent?.close();
    for (const client of [...this.#clients]) {
      void client.queue.drained().then(() => this.#drop(client));
    }
    this.#ended.resolve({ why, message });
  }
}
