/**
 * An agent in TypeScript, for tests of what talks to one: it speaks the protocol, runs scripts
 * instead of programs, and can lie.
 *
 * @module
 */
import { decodeCbor, encodeCbor } from "../../src/deps.ts";
import { makeCredit, makeFrame } from "../../src/guest/codec.ts";
import { FrameReader } from "../../src/guest/frame_reader.ts";
import type { Failure, Hello } from "../../src/guest/messages.ts";
import {
  Channel,
  CHANNEL_MASK,
  END,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD,
  PROTOCOL_VERSION,
  WINDOW,
} from "../../src/guest/protocol.ts";
import { SendQueue } from "../../src/guest/send_queue.ts";

const SIGKILL = 9;

/** What a host opened a stream with. */
export type OpenFields = ReadonlyMap<unknown, unknown>;

/** What the double does; each may throw nothing. */
export interface AgentScript {
  /** Fields that differ from a good hello, bytes for a bad one, null for none. */
  readonly hello?: Partial<Hello> | Uint8Array | null;
  /** Called for every OPEN. @default {runProgram} */
  readonly open?: (stream: DoubleStream) => void | Promise<void>;
}

/** A stream as the agent sees it. */
export class DoubleStream {
  readonly agent: AgentDouble;
  readonly number: number;
  readonly fields: OpenFields;
  /** Signals that came. */
  readonly signals: number[] = [];
  /** Resolves when the host sends CLOSE. */
  readonly hostClosed = Promise.withResolvers<void>();
  /** Bytes of stdin that came. */
  received = 0;
  /** Most bytes of stdin that ever waited to be taken. */
  peakStdin = 0;
  ended = false;
  #input: Uint8Array[] = [];
  #inputBytes = 0;
  #inputEnded = false;
  #wake: (() => void)[] = [];
  #credit = new Map<number, number>([[Channel.STDOUT, WINDOW], [Channel.STDERR, WINDOW]]);

  constructor(agent: AgentDouble, number: number, fields: OpenFields) {
    this.agent = agent;
    this.number = number;
    this.fields = fields;
  }

  /** The command line, if the request is an exec. */
  get argv(): readonly string[] {
    const argv = this.fields.get("argv");
    return Array.isArray(argv) ? argv.map(String) : [];
  }

  reply(fields: Readonly<Record<string, unknown>> = {}): void {
    this.frame(FrameType.REPLY, encodeCbor(fields));
  }

  error(failure: Partial<Failure> | Readonly<Record<string, unknown>> = {}): void {
    const whole = { kind: "failed", errno: 0, message: "no", ...failure };
    this.frame(FrameType.ERROR, encodeCbor(whole));
  }

  exit(code: number | null = 0, signal: string | null = null, timedOut = false): void {
    this.frame(FrameType.EXIT, encodeCbor({ code, signal, timedOut }));
  }

  /** The last frame. */
  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.agent.forget(this);
    this.frame(FrameType.CLOSE);
  }

  /** Sends any frame on this stream, right or wrong. */
  frame(type: number, payload: Uint8Array = new Uint8Array(0), flags = 0): void {
    this.agent.raw(makeFrame(type, this.number, payload, flags));
  }

  /** Sends bytes as credit allows; stops early when the host closed the stream. */
  async write(channel: number, bytes: Uint8Array, frameSize = MAX_PAYLOAD): Promise<void> {
    for (let at = 0; at < bytes.length && !this.ended;) {
      const credit = this.#credit.get(channel) ?? 0;
      if (credit === 0) {
        await this.changed();
        continue;
      }
      const part = bytes.subarray(at, at + Math.min(credit, frameSize));
      this.#credit.set(channel, credit - part.length);
      await this.agent.send(makeFrame(FrameType.DATA, this.number, part, channel));
      at += part.length;
    }
  }

  /** Ends a channel. */
  end(channel: number): void {
    this.frame(FrameType.DATA, new Uint8Array(0), channel | END);
  }

  /** The next bytes of stdin, credited; null at its end or the stream's. */
  async read(): Promise<Uint8Array | null> {
    for (;;) {
      const part = this.#input.shift();
      if (part) {
        this.#inputBytes -= part.length;
        if (part.length > 0) this.agent.raw(makeCredit(this.number, Channel.STDIN, part.length));
        return part;
      }
      if (this.#inputEnded || this.ended) return null;
      await this.changed();
    }
  }

  /** Takes a frame from the host. */
  take(type: number, flags: number, payload: Uint8Array): void {
    if (type === FrameType.DATA) {
      this.received += payload.length;
      if (payload.length > 0) this.#input.push(payload.slice());
      this.#inputBytes += payload.length;
      this.peakStdin = Math.max(this.peakStdin, this.#inputBytes);
      if ((flags & END) !== 0) this.#inputEnded = true;
    } else if (type === FrameType.CREDIT) {
      const channel = flags & CHANNEL_MASK;
      const count = new DataView(payload.buffer, payload.byteOffset).getUint32(0);
      this.#credit.set(channel, (this.#credit.get(channel) ?? 0) + count);
    } else if (type === FrameType.CONTROL) {
      const control: unknown = decodeCbor(payload, { preferMap: true });
      if (control instanceof Map) this.signals.push(Number(control.get("signal")));
    } else if (type === FrameType.CLOSE) {
      this.close();
      this.hostClosed.resolve();
    }
    this.wake();
  }

  /** Waits for the next frame of the host, or the end. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  /** Lets what waits look again. */
  wake(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const resolve of waiting) resolve();
  }
}

/** A guest that lies on a stream and falls silent: a relay that believes it finds its end, and the test isn't stuck. */
export function lying(lie: (stream: DoubleStream) => void): (stream: DoubleStream) => void {
  return (stream) => {
    lie(stream);
    void stream.agent.fallSilent();
  };
}

/** The agent's end of a channel. */
export class AgentDouble implements AsyncDisposable {
  /** Streams that are open. */
  readonly streams: Map<number, DoubleStream> = new Map();
  /** Numbers of all OPENs, in order. */
  readonly opened: number[] = [];
  /** Frames that a host mustn't send. */
  readonly violations: string[] = [];
  readonly #conn: Deno.UnixConn;
  readonly #out: SendQueue;
  readonly #script: AgentScript;
  readonly #done: Promise<void>;
  readonly #running: Set<Promise<void>> = new Set();

  /** Says hello on `conn` and serves it. */
  constructor(conn: Deno.UnixConn, script: AgentScript = {}) {
    this.#conn = conn;
    this.#script = script;
    this.#out = new SendQueue(conn, () => {});
    const { hello } = script;
    if (hello instanceof Uint8Array) this.raw(makeFrame(FrameType.HELLO, 0, hello));
    else if (hello !== null) this.hello(hello);
    this.#done = this.#serve();
  }

  /** Connects to a unix socket, as an engine does for the guest. */
  static async connect(path: string, script: AgentScript = {}): Promise<AgentDouble> {
    return new AgentDouble(await Deno.connect({ transport: "unix", path }), script);
  }

  /** Resolves when the host's end is closed. */
  get done(): Promise<void> {
    return this.#done;
  }

  hello(fields: Partial<Hello> = {}): void {
    const hello = { protocol: PROTOCOL_VERSION, agent: "double", kernel: "6.12.0", bootMs: 12 };
    this.raw(makeFrame(FrameType.HELLO, 0, encodeCbor({ ...hello, ...fields })));
  }

  goodbye(reason = "shutdown", message = ""): void {
    this.raw(makeFrame(FrameType.GOODBYE, 0, encodeCbor({ reason, message })));
  }

  /** Sends any bytes. */
  raw(bytes: Uint8Array): void {
    this.#out.copy(bytes);
  }

  /** Sends bytes that mustn't change until it resolves. */
  send(bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    if (bytes.length >= 4096) return this.#out.send(bytes);
    this.raw(bytes);
    return this.#out.drained(65536);
  }

  /** Waits until all that was sent is on its way. */
  flushed(): Promise<void> {
    return this.#out.drained();
  }

  /** Ends what it says once all of it is on its way; goes on hearing. Never rejects. */
  async fallSilent(): Promise<void> {
    await Promise.race([this.#out.drained(), this.#done]);
    await this.#conn.closeWrite().catch(() => {}); // the host may have been quicker
  }

  forget(stream: DoubleStream): void {
    this.streams.delete(stream.number);
    stream.wake();
  }

  /** Ends the connection once what was sent is on its way. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.race([this.#out.drained(), this.#done]);
    this.#out.stop();
    try {
      this.#conn.close();
    } catch {
      // It may be closed already.
    }
    await this.#done;
    for (const stream of [...this.streams.values()]) {
      stream.ended = true;
      this.forget(stream);
      stream.hostClosed.resolve();
    }
    await Promise.all(this.#running);
  }

  async #serve(): Promise<void> {
    const reader = new FrameReader(this.#conn, "host");
    try {
      while (await reader.fill()) {
        while (reader.next()) this.#take(reader);
        if (reader.problem !== undefined) this.violations.push(reader.problem);
      }
    } catch {
      // Closed, by either side.
    }
  }

  #take(reader: FrameReader): void {
    const { type, stream: number, flags } = reader.header;
    const known = this.streams.get(number);
    if (type !== FrameType.OPEN) return known?.take(type, flags, reader.payload);
    if (known) this.violations.push(`OPEN of ${number}, which is open`);
    if (flags !== 0) this.violations.push(`OPEN with flags ${flags}`);
    this.opened.push(number);
    const fields = decodeFields(reader.payload);
    const stream = new DoubleStream(this, number, fields ?? new Map());
    this.streams.set(number, stream);
    if (!fields) {
      stream.error({ kind: "bad_request", errno: 0, message: "read the request" });
      return stream.close();
    }
    const running = Promise.resolve((this.#script.open ?? runProgram)(stream))
      .then(() => void this.#running.delete(running));
    this.#running.add(running);
  }
}

function decodeFields(payload: Uint8Array): OpenFields | undefined {
  try {
    const fields: unknown = decodeCbor(payload, { preferMap: true });
    return fields instanceof Map ? fields : undefined;
  } catch {
    return undefined;
  }
}

/**
 * What the double runs by default: ping, configure and shutdown as an agent would; of programs
 * `true`, `exit CODE`, `echo TEXT…`, `cat`, `sink` (counts stdin, prints the count), `bytes COUNT
 * [FRAME]` (prints that many), `wait` (until closed or signalled), `stubborn` (until killed, by the
 * shutdown at the latest), `fail KIND`, and the agent's own `freeze` and `renew`, which do nothing.
 */
export async function runProgram(stream: DoubleStream): Promise<void> {
  const op = stream.fields.get("op");
  if (op !== "exec") {
    if (op === "shutdown") killAll(stream.agent);
    stream.reply(op === "configure" ? { ms: 1.5 } : {});
    stream.close();
    if (op === "shutdown") stream.agent.goodbye();
    return;
  }
  const [program, ...args] = stream.argv;
  if (program === "fail") {
    stream.error({ kind: args[0] ?? "failed", errno: 2, message: "execve" });
    return stream.close();
  }
  stream.reply({ pid: 100 + stream.number });
  let code: number | null = 0;
  let signal: string | null = null;
  if (program === "exit") code = Number(args[0]);
  else if (program === "echo") await print(stream, `${args.join(" ")}\n`);
  else if (program === "cat") await cat(stream);
  else if (program === "sink") await sink(stream);
  else if (program === "bytes") {
    await bytes(stream, Number(args[0]), Number(args[1] ?? MAX_PAYLOAD));
  } else if (program === "wait") {
    while (!stream.ended && stream.signals.length === 0) await stream.changed();
    [code, signal] = [null, "SIGTERM"];
  } else if (program === "stubborn") {
    while (!stream.ended && !stream.signals.includes(SIGKILL)) await stream.changed();
    [code, signal] = [null, "SIGKILL"];
  } else if (program === "freeze") {
    await stream.write(Channel.STDOUT, new Uint8Array(1)); // it has no file systems
    while (await stream.read()) { /* until its end */ }
  } else if (program !== "true" && program !== "renew") code = 127;
  if (stream.ended) return;
  stream.end(Channel.STDOUT);
  stream.end(Channel.STDERR);
  stream.exit(code, signal);
  stream.close();
}

function killAll({ streams }: AgentDouble): void {
  for (const stream of [...streams.values()]) {
    if (stream.argv[0] !== "stubborn") continue;
    stream.exit(null, "SIGKILL");
    stream.close();
  }
}

async function print(stream: DoubleStream, text: string): Promise<void> {
  await stream.write(Channel.STDOUT, new TextEncoder().encode(text));
}

async function cat(stream: DoubleStream): Promise<void> {
  for (let part = await stream.read(); part; part = await stream.read()) {
    await stream.write(Channel.STDOUT, part);
  }
}

async function sink(stream: DoubleStream): Promise<void> {
  while (await stream.read()) { /* dropped */ }
  await print(stream, `${stream.received}`);
}

async function bytes(stream: DoubleStream, count: number, frameSize: number): Promise<void> {
  const piece = new Uint8Array(Math.min(count, 4 * MAX_PAYLOAD));
  for (let left = count; left > 0 && !stream.ended; left -= piece.length) {
    const part = piece.subarray(0, Math.min(left, piece.length));
    await stream.write(Channel.STDOUT, part, frameSize);
  }
}

/** Bytes before a frame's payload, for tests that cut frames. */
export const HEADER = HEADER_SIZE;
