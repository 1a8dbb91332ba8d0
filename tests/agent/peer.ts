/**
 * The host's end of a channel to the real agent, frame by frame: for tests that look at the
 * protocol itself, and break it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { decodeCbor, encodeCbor } from "../../src/deps.ts";
import { makeCredit, makeFrame } from "../../src/guest/codec.ts";
import { TAKEN } from "../doubles/transfer_disk.ts";
import {
  Channel,
  CHANNEL_MASK,
  END,
  FrameType,
  HEADER_SIZE,
  WIDE,
} from "../../src/guest/protocol.ts";

/** A frame as it came. */
export interface Frame {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

/** All that came on a stream, up to its CLOSE. */
export interface Outcome {
  /** What came, in order: `REPLY`, `DATA1`, `END2`, `CREDIT`, `EXIT`, … without repetitions. */
  readonly order: readonly string[];
  readonly reply: unknown;
  readonly error: unknown;
  readonly exit: unknown;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: number;
  /** Standard output as it came. */
  readonly raw: Uint8Array<ArrayBuffer>;
  /** Bytes of stdin that were given back. */
  readonly credited: number;
}

/** What an exec can be asked with; the rest is filled in. */
export interface ExecFields {
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: string;
  readonly stdin?: boolean;
  /** Whether the stream is a copy's. @default {false} */
  readonly wide?: boolean;
  /** Keys beside these, right or wrong. */
  readonly more?: Readonly<Record<string, unknown>>;
}

const BUFFER = 1024 * 1024;

/** One connection to an agent. */
export class Peer implements Disposable {
  /** What it said it has taken from its transfer disk, in order; the first one that it has one. */
  readonly taken: number[] = [];
  readonly #conn: Deno.UnixConn;
  readonly #streams = new Map<number, PeerStream>();
  readonly #hello = Promise.withResolvers<unknown>();
  readonly #goodbye = Promise.withResolvers<unknown>();
  readonly #ended: Promise<void>;
  #writing: Promise<void> = Promise.resolve();
  #number = 0;

  constructor(conn: Deno.UnixConn) {
    this.#conn = conn;
    this.#ended = this.#read();
  }

  /** The HELLO's fields; undefined if the channel ended without. */
  get hello(): Promise<unknown> {
    return this.#hello.promise;
  }

  /** The GOODBYE's fields; undefined if the channel ended without. */
  get goodbye(): Promise<unknown> {
    return this.#goodbye.promise;
  }

  /** Resolves when the agent's end is closed. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  /** Opens a stream with any payload. */
  open(message: unknown, number: number = ++this.#number, flags = 0): PeerStream {
    const stream = this.expect(number);
    const bytes = message instanceof Uint8Array ? message : encodeCbor(message);
    this.send(FrameType.OPEN, number, bytes, flags);
    return stream;
  }

  /** Receives the frames of a stream that is opened by hand. */
  expect(number: number): PeerStream {
    const stream = new PeerStream(this, number);
    this.#streams.set(number, stream);
    return stream;
  }

  /** Opens a stream that runs a command. */
  exec(argv: readonly string[], fields: ExecFields = {}): PeerStream {
    return this.open(
      {
        op: "exec",
        argv: [...argv],
        env: [...fields.env ?? ["PATH=/bin:/usr/bin"]],
        cwd: fields.cwd ?? "/",
        user: fields.user ?? String(Deno.uid() ?? 0),
        stdin: fields.stdin ?? false,
        ...fields.more,
      },
      undefined,
      fields.wide ? WIDE : 0,
    );
  }

  /** Runs a shell script to its end. */
  shell(script: string, fields: ExecFields = {}): Promise<Outcome> {
    return this.exec(["sh", "-c", script], fields).outcome();
  }

  /** Sends a frame. */
  send(type: number, stream: number, payload?: Uint8Array, flags?: number): void {
    this.raw(makeFrame(type, stream, payload, flags));
  }

  /** Sends bytes, whatever they are. */
  raw(bytes: Uint8Array): void {
    this.#writing = this.#writing.then(() => this.#write(bytes));
  }

  /** Resolves when all that was sent is written. */
  flushed(): Promise<void> {
    return this.#writing;
  }

  /** Closes the sending half. */
  async finish(): Promise<void> {
    await this.#writing;
    await this.#conn.closeWrite().catch(() => {});
  }

  [Symbol.dispose](): void {
    try {
      this.#conn.close();
    } catch {
      // It has ended by itself.
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
    } catch {
      // The agent went away; whoever reads finds out.
    }
  }

  async #read(): Promise<void> {
    let buffer = new Uint8Array(BUFFER);
    let have = 0;
    for (;;) {
      const got = await this.#conn.read(buffer.subarray(have)).catch(() => null);
      if (got === null) break;
      have += got;
      let at = 0;
      while (have - at >= HEADER_SIZE) {
        const view = new DataView(buffer.buffer, at, HEADER_SIZE);
        const length = view.getUint32(0);
        if (have - at < HEADER_SIZE + length) break;
        const payload = buffer.slice(at + HEADER_SIZE, at + HEADER_SIZE + length);
        at += HEADER_SIZE + length;
        this.#take({
          stream: view.getUint32(4),
          type: view.getUint8(8),
          flags: view.getUint8(9),
          payload,
        });
      }
      const rest = buffer.subarray(at, have);
      if (at > 0) {
        const next = new Uint8Array(BUFFER);
        next.set(rest);
        buffer = next;
      }
      have = rest.length;
    }
    this.#hello.resolve(undefined);
    this.#goodbye.resolve(undefined);
    for (const stream of this.#streams.values()) stream.take(undefined);
  }

  #take(frame: Frame): void {
    if (frame.type === TAKEN) this.taken.push(new DataView(frame.payload.buffer).getUint32(0));
    else if (frame.type === FrameType.HELLO) this.#hello.resolve(decodeCbor(frame.payload));
    else if (frame.type === FrameType.GOODBYE) {
      this.#goodbye.resolve(decodeCbor(frame.payload));
      void this.#conn.closeWrite().catch(() => {}); // the agent waits for it
    } else {
      const stream = this.#streams.get(frame.stream);
      assert(stream, `a frame of type ${frame.type} came on stream ${frame.stream}`);
      stream.take(frame);
      if (frame.type === FrameType.CLOSE) this.#streams.delete(frame.stream);
    }
  }
}

/** One stream of a {@link Peer}. */
export class PeerStream {
  readonly number: number;
  readonly #peer: Peer;
  readonly #frames: (Frame | undefined)[] = [];
  #wake: (() => void) | undefined;

  constructor(peer: Peer, number: number) {
    this.#peer = peer;
    this.number = number;
  }

  /** The next frame; undefined when the channel ended. */
  async next(): Promise<Frame | undefined> {
    while (this.#frames.length === 0) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    return this.#frames.shift();
  }

  /** Frames that came and weren't asked for yet. */
  get waiting(): number {
    return this.#frames.length;
  }

  /** Called by the peer. */
  take(frame: Frame | undefined): void {
    this.#frames.push(frame);
    this.#wake?.();
  }

  /** Sends stdin. */
  input(bytes: Uint8Array | string, end = false): void {
    const payload = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    this.#peer.send(FrameType.DATA, this.number, payload, end ? END : 0);
  }

  credit(channel: number, count: number): void {
    this.#peer.raw(makeCredit(this.number, channel, count));
  }

  signal(number: number): void {
    this.#peer.send(FrameType.CONTROL, this.number, encodeCbor({ op: "signal", signal: number }));
  }

  resize(rows: number, columns: number): void {
    const control = encodeCbor({ op: "resize", tty: [rows, columns] });
    this.#peer.send(FrameType.CONTROL, this.number, control);
  }

  close(): void {
    this.#peer.send(FrameType.CLOSE, this.number);
  }

  /** Reads to CLOSE (or `until`), giving credit at once. */
  async outcome(until = "CLOSE"): Promise<Outcome> {
    const order: string[] = [];
    const parts: Uint8Array<ArrayBuffer>[][] = [[], [], []];
    let [reply, error, exit]: unknown[] = [];
    let credited = 0;
    for (;;) {
      const frame = await this.next();
      const word = frame === undefined ? "LOST" : wordOf(frame);
      if (order.at(-1) !== word) order.push(word);
      if (frame === undefined) break;
      if (frame.type === FrameType.REPLY) reply = decodeCbor(frame.payload);
      if (frame.type === FrameType.ERROR) error = decodeCbor(frame.payload);
      if (frame.type === FrameType.EXIT) exit = decodeCbor(frame.payload);
      if (frame.type === FrameType.CREDIT) {
        credited += new DataView(frame.payload.slice().buffer).getUint32(0);
      }
      if (frame.type === FrameType.DATA && frame.payload.length > 0) {
        const channel = frame.flags & CHANNEL_MASK;
        parts[channel]?.push(frame.payload.slice());
        this.credit(channel, frame.payload.length);
      }
      if (word === until) break;
    }
    const text = (channel: number) => new TextDecoder().decode(joined(parts[channel] ?? []));
    const raw = joined(parts[Channel.STDOUT] ?? []);
    return {
      ...{ order, reply, error, exit, credited, raw, stdoutBytes: raw.length },
      ...{ stdout: text(Channel.STDOUT), stderr: text(Channel.STDERR) },
    };
  }
}

function wordOf(frame: Frame): string {
  if (frame.type === FrameType.DATA) {
    return ((frame.flags & END) !== 0 ? "END" : "DATA") + (frame.flags & CHANNEL_MASK);
  }
  for (const [name, type] of Object.entries(FrameType)) if (type === frame.type) return name;
  return `type ${frame.type}`;
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
