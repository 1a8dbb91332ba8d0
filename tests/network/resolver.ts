/** A name server that answers as the test wants, and remembers what it was asked. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { addressBytes, split16, split32 } from "./frames.ts";

/** A record: an address, or an alias `-> NAME`. */
export interface Answered {
  readonly data: string;
  /** In seconds. @default {60} */
  readonly ttl?: number;
  /** Whose it is. @default {the name that was asked for} */
  readonly owner?: string;
}

const TYPES = { a: 1, cname: 5, aaaa: 28 } as const;

function labelsOf(name: string): number[] {
  const labels = name.split(".");
  return [...labels.flatMap((label) => [label.length, ...new TextEncoder().encode(label)]), 0];
}

function record({ data, ttl = 60, owner }: Answered, type: number): number[] | undefined {
  const alias = data.startsWith("-> ");
  const own = alias ? TYPES.cname : data.includes(":") ? TYPES.aaaa : TYPES.a;
  if (!alias && own !== type) return undefined;
  const bytes = alias ? labelsOf(data.slice(3)) : addressBytes(data);
  const name = owner === undefined ? [0xc0, 12] : labelsOf(owner);
  return [...name, ...split16(own), 0, 1, ...split32(ttl), ...split16(bytes.length), ...bytes];
}

/** What is asked is remembered in `asked`, as `NAME TYPE`. */
export async function resolver(
  answers: (name: string) => readonly Answered[] | undefined,
  { address = "127.0.0.1", port = 0 } = {},
): Promise<Disposable & { readonly port: number; readonly asked: string[] }> {
  const asked: string[] = [];
  const socket = createSocket("udp4", (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (let n; (n = query[at] ?? 0) > 0; at += n + 1) {
      labels.push(query.toString("latin1", at + 1, at + 1 + n));
    }
    const type = query.readUInt16BE(at + 1);
    const name = labels.join(".").toLowerCase();
    asked.push(`${name} ${type}`);
    const known = answers(name);
    const records = (known ?? []).flatMap((each) => {
      const made = record(each, type);
      return made ? [made] : [];
    });
    const head = [
      ...query.subarray(0, 2),
      0x81,
      known ? 0x80 : 0x83,
      0,
      1,
      ...split16(records.length),
      0,
      0,
      0,
      0,
    ];
    const reply = Uint8Array.from([...head, ...query.subarray(12, at + 5), ...records.flat()]);
    socket.send(reply, from.port, from.address);
  });
  socket.bind(port, address);
  await once(socket, "listening");
  return { port: socket.address().port, asked, [Symbol.dispose]: () => void socket.close() };
}
