/** `hutch-net` by itself, with a guest made of frames: connections and questions without a machine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { buildTarget } from "../../ffi/build.ts";
import { projectRoot, sanitizers } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";
import {
  answerWho,
  frameTo,
  ICMP,
  ICMP6,
  MAC,
  readFrame,
  split16,
  split32,
  TCP,
  UDP,
} from "./frames.ts";

const FIN = 1;
const SYN = 2;
const RST = 4;
const ACK = 16;
const WINDOW = 65_535;
const TIMEOUT_MS = 60_000;
export const NAME_SERVER = "10.213.77.3";

/** The sanitized program. */
async function build(): Promise<string> {
  const output = join(projectRoot, "build", "test", "hutch-net");
  await buildTarget({
    output,
    sources: [join(projectRoot, "ffi", "net")],
    headers: [],
    flags: sanitizers,
    libraries: ["-lslirp"],
  });
  return output;
}

/** Sends a segment. */
type Sender = (
  flags: number,
  sequence: number,
  acknowledged: number,
  data: Uint8Array<ArrayBuffer>,
) => Promise<void>;

/** A TCP connection of the guest's. Loses nothing, so that it never says anything twice. */
export class GuestConnection {
  readonly key: string;
  /** What came so far. */
  received = "";
  bytes = 0;
  state: "opening" | "open" | "ended" | "refused" | "reset" = "opening";
  readonly #send: Sender;
  #sequence = 1000;
  #acknowledged = 0;
  #theirs = 0;
  #window = 0;
  #changed = Promise.withResolvers<void>();

  constructor(key: string, send: Sender) {
    this.key = key;
    this.#send = send;
  }

  async open(): Promise<void> {
    await this.#send(SYN, this.#sequence++, 0, new Uint8Array());
  }

  /** Says something; a window's worth at a time. */
  async say(what: string | Uint8Array<ArrayBuffer>): Promise<void> {
    const bytes = typeof what === "string" ? new TextEncoder().encode(what) : what;
    for (let at = 0; at < bytes.length;) {
      await this.until(() => this.#acknowledged + this.#window > this.#sequence);
      if (this.state === "reset") return;
      const room = Math.min(this.#acknowledged + this.#window - this.#sequence, 60_000);
      const part = bytes.slice(at, at + room);
      const sequence = this.#sequence;
      this.#sequence += part.length;
      at += part.length;
      await this.#send(ACK, sequence, this.#theirs, part);
    }
  }

  /** Has nothing more to say. */
  async end(): Promise<void> {
    await this.#send(FIN | ACK, this.#sequence++, this.#theirs, new Uint8Array());
  }

  /** Says that it breaks off, so far out of turn that nobody who counts takes it. */
  async feign(): Promise<void> {
    await this.#send(RST, this.#sequence + 1_000_000, 0, new Uint8Array());
  }

  async take(body: Uint8Array<ArrayBuffer>): Promise<void> {
    const view = new DataView(body.buffer, body.byteOffset, body.length);
    const flags = body[13] ?? 0;
    const data = body.slice((body[12] ?? 0) >> 4 << 2);
    if (flags & RST) this.state = this.state === "opening" ? "refused" : "reset";
    if (flags & ACK) this.#acknowledged = view.getUint32(8);
    this.#window = view.getUint16(14);
    if (flags & SYN && this.state === "opening") {
      this.state = "open";
      this.#theirs = view.getUint32(4) + 1;
      await this.#send(ACK, this.#sequence, this.#theirs, new Uint8Array());
    } else if (!(flags & RST) && (data.length > 0 || flags & FIN)) {
      if (view.getUint32(4) === this.#theirs) {
        if (this.bytes < 1_000_000) this.received += new TextDecoder().decode(data);
        this.bytes += data.length;
        this.#theirs += data.length + (flags & FIN ? 1 : 0);
        if (flags & FIN) this.state = "ended";
      }
      await this.#send(ACK, this.#sequence, this.#theirs, new Uint8Array());
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  /** Waits for it; also ends at a reset. */
  async until(what: () => boolean): Promise<void> {
    const late = setTimeout(
      () => this.#changed.reject(new Error(`waited in vain: ${this.state}`)),
      TIMEOUT_MS,
    );
    try {
      while (!what() && this.state !== "refused" && this.state !== "reset") {
        await this.#changed.promise;
      }
    } finally {
      clearTimeout(late);
    }
  }
}

/** A running `hutch-net` whose guest the test is. */
export class NetProcess implements AsyncDisposable {
  /** Where it takes orders. */
  readonly controlPath: string;
  readonly #folder: TempFolder;
  readonly #child: Deno.ChildProcess;
  readonly #device: Deno.UnixConn;
  readonly #control: Deno.UnixConn;
  readonly #lines: AsyncIterator<string>;
  readonly #events: Record<string, unknown>[] = [];
  readonly #connections = new Map<string, GuestConnection>();
  readonly #echoes = new Map<number, (body: Uint8Array<ArrayBuffer>) => void>();
  readonly #answers = new Map<number, (message: Uint8Array<ArrayBuffer> | undefined) => void>();
  readonly #reading: Promise<void>;
  #port = 30_000;
  #sending: Promise<void> = Promise.resolve();

  private constructor(
    folder: TempFolder,
    child: Deno.ChildProcess,
    device: Deno.UnixConn,
    control: Deno.UnixConn,
  ) {
    this.controlPath = join(folder.path, "c");
    this.#folder = folder;
    this.#child = child;
    this.#device = device;
    this.#control = control;
    this.#lines = linesOf(control);
    this.#reading = this.#read();
  }

  /** Starts one with these orders; rules come as texts. */
  static async start(...orders: readonly string[]): Promise<NetProcess> {
    return await NetProcess.startUnheard("events", ...orders);
  }

  /** The same, without listening to its events. */
  static async startUnheard(...orders: readonly string[]): Promise<NetProcess> {
    return await NetProcess.startBy([], orders);
  }

  /** The same, by a command that runs what follows it. */
  static async startBy(
    command: readonly string[],
    orders: readonly string[],
  ): Promise<NetProcess> {
    const folder = new TempFolder();
    const [device, control] = [join(folder.path, "d"), join(folder.path, "c")];
    const [program = "", ...args] = [...command, await build(), device, control, MAC];
    const child = new Deno.Command(program, { args, stdin: "piped", stdout: "null" }).spawn();
    const net = new NetProcess(folder, child, await dial(device), await dial(control));
    for (const order of orders) await net.order(order);
    return net;
  }

  /** Gives an order that must succeed. */
  async order(text: string): Promise<Record<string, unknown>> {
    await this.#control.write(new TextEncoder().encode(`${text}\n`));
    for (;;) {
      const answer = await this.#line();
      if (answer.event !== undefined) this.#events.push(answer);
      else if (answer.ok === true) return answer;
      else throw new Error(`${text}: ${JSON.stringify(answer)}`);
    }
  }

  /** The next thing that was denied. */
  async denied(): Promise<Record<string, unknown>> {
    return this.#events.shift() ?? await this.#line();
  }

  /** All that was told so far, and wasn't asked for. */
  async told(): Promise<Record<string, unknown>[]> {
    await this.order("counters");
    return this.#events.splice(0);
  }

  async #line(): Promise<Record<string, unknown>> {
    const { value } = await this.#lines.next();
    return JSON.parse(value);
  }

  /** Opens a connection, and waits until it is open or refused. */
  async connect(address: string, port: number): Promise<GuestConnection> {
    const own = this.#port++;
    const connection = new GuestConnection(
      `${own}`,
      (flags, sequence, acknowledged, data) =>
        this.send(frameTo(
          address,
          TCP,
          [
            ...[...split16(own), ...split16(port), ...split32(sequence), ...split32(acknowledged)],
            ...[0x50, flags, ...split16(WINDOW), 0, 0, 0, 0],
          ],
          data,
        )),
    );
    this.#connections.set(connection.key, connection);
    await connection.open();
    await connection.until(() => connection.state !== "opening");
    return connection;
  }

  /** Sends an echo request by IPv6; gives what the reply has, and what the request had; undefined: it was refused. */
  async echo(address: string, text: string): Promise<{ got: string; sent: string } | undefined> {
    const id = this.#port++;
    const answered = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
    this.#echoes.set(id, answered.resolve);
    const data = new TextEncoder().encode(text);
    const head = [128, 0, 0, 0, ...split16(id), ...split16(7)];
    await this.send(frameTo(address, ICMP6, head, data));
    const [reply, sent] = [await answered.promise, [129, 0, 0, 0, ...head.slice(4), ...data]];
    if (reply[0] !== 129) return undefined;
    reply.fill(0, 2, 4); // the checksum
    return { got: reply.toString(), sent: sent.toString() };
  }

  /** Sends a datagram, and waits for one that answers it; undefined: it was refused. */
  async exchange(address: string, port: number, text: string): Promise<string | undefined> {
    const own = this.#port++;
    const answered = Promise.withResolvers<Uint8Array<ArrayBuffer> | undefined>();
    this.#answers.set(own, answered.resolve);
    const data = new TextEncoder().encode(text);
    const head = [...split16(own), ...split16(port), ...split16(8 + data.length), 0, 0];
    await this.send(frameTo(address, UDP, head, data));
    const answer = await answered.promise;
    return answer && new TextDecoder().decode(answer);
  }

  /** Asks the name server; gives its code and its addresses. */
  async ask(
    name: string,
    type: "A" | "AAAA" | "HTTPS" = "A",
  ): Promise<{ code: number; records: number }> {
    const own = this.#port++;
    const labels = name.split(".").flatMap((
      label,
    ) => [label.length, ...new TextEncoder().encode(label)]);
    const number = { A: 1, AAAA: 28, HTTPS: 65 }[type];
    const query = [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, number, 0, 1];
    const answered = Promise.withResolvers<Uint8Array<ArrayBuffer> | undefined>();
    this.#answers.set(own, answered.resolve);
    const head = [...split16(own), ...split16(53), ...split16(8 + query.length), 0, 0];
    await this.send(frameTo(NAME_SERVER, UDP, head, Uint8Array.from(query)));
    const answer = await answered.promise;
    assert(answer, "the name server is refused");
    return { code: (answer[3] ?? 0) & 15, records: answer[7] ?? 0 };
  }

  /** Sends a frame. */
  send(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    this.#sending = this.#sending.then(async () => {
      const bytes = new Uint8Array(4 + frame.length);
      bytes.set(split32(frame.length));
      bytes.set(frame, 4);
      for (let at = 0; at < bytes.length;) at += await this.#device.write(bytes.subarray(at));
    });
    return this.#sending;
  }

  async #read(): Promise<void> {
    let rest = new Uint8Array();
    const buffer = new Uint8Array(256 * 1024);
    for (let n; (n = await this.#device.read(buffer).catch(() => null)) !== null;) {
      const all = new Uint8Array(rest.length + n);
      all.set(rest);
      all.set(buffer.subarray(0, n), rest.length);
      rest = all;
      while (rest.length >= 4) {
        const length = new DataView(rest.buffer, rest.byteOffset).getUint32(0);
        if (rest.length < 4 + length) break;
        await this.#take(rest.slice(4, 4 + length));
        rest = rest.slice(4 + length);
      }
    }
  }

  async #take(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    const who = answerWho(frame);
    if (who) return await this.send(who);
    const packet = readFrame(frame);
    if (!packet) return;
    const number = (at: number) => (packet.body[at] ?? 0) << 8 | (packet.body[at + 1] ?? 0);
    const port = number(2);
    // What refuses a packet has the beginning of it in itself, behind its own head and that of IP.
    const v6 = packet.protocol === ICMP6;
    const refuses = v6 ? packet.body[0] === 1 : packet.protocol === ICMP && packet.body[0] === 3;
    const within = 8 + (v6 ? 40 : 20);
    if (refuses) this.#answers.get(number(within))?.(undefined);
    if (v6) this.#echoes.get(number(refuses ? within + 4 : 4))?.(packet.body.slice());
    if (packet.protocol === UDP) this.#answers.get(port)?.(packet.body.slice(8));
    if (packet.protocol === TCP) await this.#connections.get(`${port}`)?.take(packet.body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close();
    const { code } = await this.#child.status;
    this.#device.close();
    this.#control.close();
    await this.#reading;
    await this.#folder[Symbol.asyncDispose]();
    assert.equal(code, 0, "hutch-net ended with an error");
  }
}

async function dial(path: string): Promise<Deno.UnixConn> {
  for (let tries = 0;; tries++) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (tries > 600) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function* linesOf(connection: Deno.UnixConn): AsyncGenerator<string> {
  let rest = "";
  const buffer = new Uint8Array(8192);
  for (let n; (n = await connection.read(buffer)) !== null;) {
    rest += new TextDecoder().decode(buffer.subarray(0, n));
    for (let end; (end = rest.indexOf("\n")) >= 0; rest = rest.slice(end + 1)) {
      yield rest.slice(0, end);
    }
  }
}
