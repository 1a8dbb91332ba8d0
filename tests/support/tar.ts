/**
 * A tar writer for tests: it writes what it is told, however odd. Texts are latin-1, so that a
 * name can have any bytes.
 *
 * @module
 */

/** One entry, field by field; what is missing is usual. */
export interface TarFields {
  readonly path: string;
  /** Type flag. @default {"0"} */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: number;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  /** Content; the size field follows it unless `size` is given. */
  readonly data?: string | Uint8Array;
  readonly size?: number;
  /** Records of a pax header before the entry. */
  readonly pax?: Readonly<Record<string, string>>;
  /** Pax records in a row, where a key comes more than once. */
  readonly records?: readonly (readonly [string, string])[];
  /** Raw bytes put into the header at these offsets, before its checksum is made. */
  readonly raw?: Readonly<Record<number, string>>;
  /** GNU long name and long link headers before the entry. */
  readonly gnuPath?: string;
  readonly gnuLink?: string;
}

const BLOCK = 512;

/** The bytes of a latin-1 text. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(text.length);
  put(bytes, 0, text);
  return bytes;
}

/** The archive with its end mark. */
export function writeTar(...entries: readonly TarFields[]): Uint8Array<ArrayBuffer> {
  return concat([...entries.map(tarEntry), new Uint8Array(2 * BLOCK)]);
}

/** One entry with the headers that go before it. */
export function tarEntry(entry: TarFields): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const records = [...entry.pax ? Object.entries(entry.pax) : [], ...entry.records ?? []];
  if (records.length > 0) {
    parts.push(plainEntry({ path: "PaxHeader", type: "x", data: records.map(record).join("") }));
  }
  if (entry.gnuPath !== undefined) {
    parts.push(plainEntry({ path: "././@LongLink", type: "L", data: `${entry.gnuPath}\0` }));
  }
  if (entry.gnuLink !== undefined) {
    parts.push(plainEntry({ path: "././@LongLink", type: "K", data: `${entry.gnuLink}\0` }));
  }
  if (parts.length === 0) return plainEntry(entry);
  return concat([...parts, plainEntry(entry)]);
}

function record([key, value]: readonly [string, string]): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length++;
  return `${length}${rest}`;
}

/** Written in place, since tests make hundreds of thousands of them. */
function plainEntry(entry: TarFields): Uint8Array<ArrayBuffer> {
  const { data = "" } = entry;
  const bytes = new Uint8Array(BLOCK + Math.ceil(data.length / BLOCK) * BLOCK);
  if (typeof data === "string") put(bytes, BLOCK, data);
  else bytes.set(data, BLOCK);
  writeHeader(bytes, entry, data.length);
  return bytes;
}

function writeHeader(block: Uint8Array<ArrayBuffer>, entry: TarFields, size: number): void {
  const { type = "0" } = entry;
  put(block, 0, entry.path.slice(0, 100));
  put(block, 100, number(entry.mode ?? (type === "5" ? 0o755 : 0o644), 8));
  put(block, 108, number(entry.uid ?? 0, 8));
  put(block, 116, number(entry.gid ?? 0, 8));
  put(block, 124, number(entry.size ?? size, 12));
  put(block, 136, number(entry.mtime ?? 0, 12));
  put(block, 156, type);
  put(block, 157, (entry.link ?? "").slice(0, 100));
  put(block, 257, "ustar\x0000");
  put(block, 329, number(entry.major ?? 0, 8));
  put(block, 337, number(entry.minor ?? 0, 8));
  if (entry.raw) {
    for (const [at, text] of Object.entries(entry.raw)) {
      put(block, Number(at), text);
    }
  }
  put(block, 148, "        ");
  let sum = 0;
  for (let at = 0; at < BLOCK; at++) sum += block[at] ?? 0;
  put(block, 148, `${sum.toString(8).padStart(6, "0")}\0 `);
}

function put(bytes: Uint8Array<ArrayBuffer>, at: number, text: string): void {
  for (let index = 0; index < text.length; index++) bytes[at + index] = text.charCodeAt(index);
}

/** Octal, or base 256 where that doesn't fit. */
function number(value: number, size: number): string {
  const octal = value.toString(8).padStart(size - 1, "0");
  if (value >= 0 && octal.length === size - 1) return `${octal}\0`;
  const bytes: string[] = [];
  for (let rest = BigInt(value), i = 0; i < size; i++, rest >>= 8n) {
    bytes.unshift(String.fromCharCode(Number(rest & 0xffn)));
  }
  const first = bytes[0]?.charCodeAt(0) ?? 0;
  return String.fromCharCode(first | 0x80) + bytes.slice(1).join("");
}

/** All bytes in a row. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
