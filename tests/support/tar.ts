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
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** The archive with its end mark. */
export function writeTar(...entries: readonly TarFields[]): Uint8Array<ArrayBuffer> {
  return concat([...entries.map(tarEntry), new Uint8Array(2 * BLOCK)]);
}

/** One entry with the headers that go before it. */
export function tarEntry(entry: TarFields): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  const records = [...Object.entries(entry.pax ?? {}), ...entry.records ?? []];
  if (records.length > 0) {
    parts.push(plainEntry({ path: "PaxHeader", type: "x", data: records.map(record).join("") }));
  }
  if (entry.gnuPath !== undefined) {
    parts.push(plainEntry({ path: "././@LongLink", type: "L", data: `${entry.gnuPath}\0` }));
  }
  if (entry.gnuLink !== undefined) {
    parts.push(plainEntry({ path: "././@LongLink", type: "K", data: `${entry.gnuLink}\0` }));
  }
  parts.push(plainEntry(entry));
  return concat(parts);
}

function record([key, value]: readonly [string, string]): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (`${length}${rest}`.length !== length) length++;
  return `${length}${rest}`;
}

function plainEntry(entry: TarFields): Uint8Array<ArrayBuffer> {
  const data = typeof entry.data === "string" ? latin1(entry.data) : entry.data ?? new Uint8Array();
  const padding = (BLOCK - data.length % BLOCK) % BLOCK;
  return concat([header(entry, data.length), data, new Uint8Array(padding)]);
}

function header(entry: TarFields, size: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => block.set(latin1(text), at);
  const { type = "0" } = entry;
  put(0, entry.path.slice(0, 100));
  put(100, number(entry.mode ?? (type === "5" ? 0o755 : 0o644), 8));
  put(108, number(entry.uid ?? 0, 8));
  put(116, number(entry.gid ?? 0, 8));
  put(124, number(entry.size ?? size, 12));
  put(136, number(entry.mtime ?? 0, 12));
  put(156, type);
  put(157, (entry.link ?? "").slice(0, 100));
  put(257, "ustar\x0000");
  put(329, number(entry.major ?? 0, 8));
  put(337, number(entry.minor ?? 0, 8));
  for (const [at, text] of Object.entries(entry.raw ?? {})) put(Number(at), text);
  put(148, "        ");
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
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
