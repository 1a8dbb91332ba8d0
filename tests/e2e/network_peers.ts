/** What boxes talk to in tests of networks: servers on this machine's loopback. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
import { once } from "node:events";

const PERIOD = 65_521;
const MIB = Deno.env.get("NETWORK_MIB") ?? (Deno.env.get("IN_KVM_LAB") === "1" ? 2 : 24);
/** Size of a long transfer in bytes; in the emulated machine with KVM a short one takes as long. */
export const LONG = Number(MIB) * 2 ** 20 + 12_345;
const block = Uint8Array.from({ length: PERIOD }, (_, j) => (j * 167 + (j >> 8)) & 255);

/** The first bytes of the pattern that `net_guest.c` has too. */
function patternOf(size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at += PERIOD) bytes.set(block.subarray(0, size - at), at);
  return bytes;
}

/** Reads to the end; how many bytes of the pattern there were. */
export async function sizeOfPattern(connection: Deno.Conn): Promise<number> {
  const buffer = new Uint8Array(256 * 1024);
  const wanted = patternOf(PERIOD + buffer.length);
  let at = 0;
  for (let n; (n = await connection.read(buffer)) !== null; at += n) {
    const from = at % PERIOD;
    const same = Buffer.compare(buffer.subarray(0, n), wanted.subarray(from, from + n)) === 0;
    assert(same, `wrong bytes after ${at}`);
  }
  return at;
}

export async function sendAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Sends the first bytes of the pattern. */
export async function sendPattern(connection: Deno.Conn, size: number): Promise<void> {
  const piece = patternOf(16 * PERIOD);
  for (let at = 0; at < size; at += piece.length) {
    await sendAll(connection, piece.subarray(0, size - at));
  }
}

/** What comes, as text, up to its end. */
export async function readAll(connection: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  for (let n; (n = await connection.read(buffer)) !== null;) {
    text += new TextDecoder().decode(buffer.subarray(0, n));
  }
  return text;
}

/** Three servers: one that speaks first and gives the pattern, one that counts it, one that echoes. */
export class HostServer implements Disposable {
  readonly #listeners: Deno.Listener<Deno.TcpConn>[] = [];
  readonly port: number;
  readonly sink: number;
  readonly echo: number;

  constructor(hostname: string) {
    this.port = this.#serve(hostname, (connection) => sendPattern(connection, LONG));
    this.sink = this.#serve(hostname, async (connection) => {
      await sendAll(connection, new TextEncoder().encode(`${await sizeOfPattern(connection)}\n`));
    });
    this.echo = this.#serve(hostname, async (connection) => {
      const buffer = new Uint8Array(4096);
      for (let n; (n = await connection.read(buffer)) !== null;) {
        await sendAll(connection, buffer.subarray(0, n));
      }
    });
  }

  #serve(hostname: string, talk: (connection: Deno.Conn) => Promise<void>): number {
    const listener = Deno.listen({ hostname, port: 0 });
    this.#listeners.push(listener);
    void (async () => {
      for await (const connection of listener) {
        void talk(connection).catch(() => {}).finally(() => connection.close());
      }
    })();
    return listener.addr.port;
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener.close();
  }
}

/** A query for the IPv4 address of a name. */
export function question(name: string): number[] {
  const labels = name.split(".").flatMap((
    label,
  ) => [label.length, ...new TextEncoder().encode(label)]);
  return [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1];
}

function answer(
  query: Uint8Array,
  names: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const labels: string[] = [];
  let at = 12;
  for (let n; (n = query[at] ?? 0) > 0; at += n + 1) {
    labels.push(new TextDecoder().decode(query.subarray(at + 1, at + 1 + n)));
  }
  const address = names[labels.join(".").toLowerCase()]?.split(".").map(Number);
  const isA = query[at + 2] === 1;
  const head = [query[0] ?? 0, query[1] ?? 0, 0x81, address ? 0x80 : 0x83];
  const counts = [0, 1, 0, address && isA ? 1 : 0, 0, 0, 0, 0];
  const record = address && isA ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address] : [];
  return Uint8Array.from([...head, ...counts, ...query.subarray(12, at + 5), ...record]);
}

/** A server that knows some names, by UDP and TCP on one port. */
export async function fakeResolver(
  names: Readonly<Record<string, string>>,
): Promise<Disposable & { readonly port: number }> {
  const tcp = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = tcp.addr;
  const udp = createSocket("udp4", (query, from) => {
    udp.send(answer(query, names), from.port, from.address);
  });
  udp.bind(port, "127.0.0.1");
  await once(udp, "listening");
  void (async () => {
    for await (const connection of tcp) {
      const buffer = new Uint8Array(2048);
      const n = await connection.read(buffer).catch(() => null);
      const reply = n === null ? new Uint8Array() : answer(buffer.slice(2, n), names);
      await sendAll(connection, Uint8Array.from([0, reply.length, ...reply])).catch(() => {});
      connection.close();
    }
  })();
  return {
    port,
    [Symbol.dispose]() {
      udp.close();
      tcp.close();
    },
  };
}

/** Sends a datagram to a port of this machine's loopback, again until there is an answer. */
export async function askByDatagram(address: string, port: number, text: string): Promise<string> {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const timer = setInterval(() => socket.send(text, port, address), 1000);
  try {
    socket.send(text, port, address);
    const [message] = await once(socket, "message");
    return String(message);
  } finally {
    clearInterval(timer);
    socket.close();
  }
}
