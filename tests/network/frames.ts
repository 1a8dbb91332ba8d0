/** Ethernet frames of a guest, made and read by hand: the tests trust nothing of what they test. */

/** Who the guest is on its network, by IPv4 and IPv6. */
export const GUEST = { v4: "10.213.77.2", v6: "fd5a:7c1e:68b4::2" } as const;
/** Its hardware address. */
export const MAC = "52:48:55:54:43:02";
const GUEST_MAC = MAC.split(":").map((byte) => parseInt(byte, 16));
const GATE_MAC = [0x52, 0x55, 0x0a, 0xd5, 0x4d, 0x01];
const IPV4 = 0x0800;
const ARP = 0x0806;
const IPV6 = 0x86dd;

export const ICMP = 1;
export const TCP = 6;
export const UDP = 17;
export const ICMP6 = 58;

/** An address as its bytes. */
export function addressBytes(text: string): number[] {
  if (!text.includes(":")) return text.split(".").map(Number);
  const [head = "", tail] = text.split("::");
  const words = (part: string) =>
    part === "" ? [] : part.split(":").map((word) => parseInt(word, 16));
  const [before, after] = [words(head), words(tail ?? "")];
  const gap = new Array<number>(8 - before.length - after.length).fill(0);
  return [...before, ...tail === undefined ? [] : gap, ...after].flatMap(split16);
}

/** A number as two bytes. */
export function split16(value: number): number[] {
  return [value >> 8 & 255, value & 255];
}

/** A number as four bytes. */
export function split32(value: number): number[] {
  return [...split16(value >>> 16), ...split16(value & 0xffff)];
}

function checksum(bytes: readonly number[] | Uint8Array, start = 0): number {
  let total = start;
  for (let i = 0; i < bytes.length; i++) {
    total += i % 2 === 0 ? (bytes[i] ?? 0) << 8 : bytes[i] ?? 0;
  }
  while (total > 0xffff) total = (total & 0xffff) + (total >> 16);
  return ~total & 0xffff;
}

/** A frame of the guest's with a TCP or UDP body. */
export function frameTo(
  to: string,
  protocol: number,
  body: readonly number[],
  data: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const v6 = to.includes(":");
  const [source, target] = [addressBytes(v6 ? GUEST.v6 : GUEST.v4), addressBytes(to)];
  const length = body.length + data.length;
  const packet = new Uint8Array(length);
  packet.set(body);
  packet.set(data, body.length);
  const pseudo = ~checksum([...source, ...target, 0, protocol, ...split16(length)]) & 0xffff;
  const sumAt = protocol === TCP ? 16 : protocol === UDP ? 6 : 2;
  packet.set(split16(checksum(packet, pseudo)), sumAt);
  const head = v6
    ? [0x60, 0, 0, 0, ...split16(length), protocol, 255, ...source, ...target]
    : [0x45, 0, ...split16(20 + length), 0, 0, 0, 0, 64, protocol, 0, 0, ...source, ...target];
  if (!v6) head.splice(10, 2, ...split16(checksum(head)));
  const frame = new Uint8Array(14 + head.length + length);
  frame.set([...GATE_MAC, ...GUEST_MAC, ...split16(v6 ? IPV6 : IPV4), ...head]);
  frame.set(packet, 14 + head.length);
  return frame;
}

/** What came in a frame for the guest. */
export interface Packet {
  readonly protocol: number;
  readonly from: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Reads a frame of IPv4 or IPv6; undefined for others. */
export function readFrame(frame: Uint8Array<ArrayBuffer>): Packet | undefined {
  const type = (frame[12] ?? 0) << 8 | (frame[13] ?? 0);
  const ip = frame.subarray(14);
  if (type === IPV4) {
    const total = (ip[2] ?? 0) << 8 | (ip[3] ?? 0);
    return { protocol: ip[9] ?? 0, from: ip.slice(12, 16).join("."), body: ip.subarray(20, total) };
  }
  if (type !== IPV6) return undefined;
  const size = (ip[4] ?? 0) << 8 | (ip[5] ?? 0);
  return {
    protocol: ip[6] ?? 0,
    from: textOfV6(ip.subarray(8, 24)),
    body: ip.subarray(40, 40 + size),
  };
}

function textOfV6(bytes: Uint8Array): string {
  return Array.from(
    { length: 8 },
    (_, i) => ((bytes[2 * i] ?? 0) << 8 | (bytes[2 * i + 1] ?? 0)).toString(16),
  )
    .join(":");
}

/** The guest's answer to a question who it is; undefined where that isn't asked. */
export function answerWho(frame: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | undefined {
  const type = (frame[12] ?? 0) << 8 | (frame[13] ?? 0);
  const sender = frame.slice(6, 12);
  if (type === ARP && frame[21] === 1) {
    return Uint8Array.from([
      ...[...sender, ...GUEST_MAC, ...split16(ARP), 0, 1, 8, 0, 6, 4, 0, 2],
      ...[...GUEST_MAC, ...addressBytes(GUEST.v4), ...frame.slice(22, 32)],
    ]);
  }
  if (type !== IPV6 || frame[20] !== ICMP6 || frame[54] !== 135) return undefined;
  const advertisement = [
    136,
    0,
    0,
    0,
    0x60,
    0,
    0,
    0,
    ...addressBytes(GUEST.v6),
    2,
    1,
    ...GUEST_MAC,
  ];
  return frameTo(textOfV6(frame.subarray(22, 38)), ICMP6, advertisement, new Uint8Array());
}
