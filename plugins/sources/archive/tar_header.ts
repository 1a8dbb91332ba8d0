/**
 * The headers of tar archives: ustar, pax, GNU's and the old ones before them.
 *
 * @module
 */

/** Bytes of a header, and what everything in an archive is padded to. */
export const BLOCK = 512;

/** What one header says. */
export interface TarHeader {
  readonly path: string;
  /** Type flag: `0` for a file, whichever way it was written. */
  readonly type: string;
  /** Content in the archive, in bytes. */
  readonly size: number;
  /** Where links lead. */
  readonly link: string;
}

/** Types that have no content, whatever their size says. */
const BARE = /^[1-6]$/;
const DECODER = new TextDecoder();

/**
 * Reads a header's block; undefined for the block of zeros that ends an archive.
 *
 * @throws {Error} saying what is wrong, in words that go on from "it has".
 */
export function readTarHeader(block: Uint8Array): TarHeader | undefined {
  if (block[0] === 0 && block.every((byte) => byte === 0)) return undefined;
  checkSum(block);
  const name = text(block, 0, 100);
  const magic = text(block, 257, 6);
  // GNU's headers have other things where ustar has a path's beginning.
  const prefix = magic === "ustar" ? text(block, 345, 155) : "";
  const flag = String.fromCharCode(block[156] ?? 0);
  const path = prefix === "" ? name : `${prefix}/${name}`;
  const plain = flag === "\0" || flag === "0" || flag === "7";
  const type = plain ? (path.endsWith("/") ? "5" : "0") : flag;
  const size = number(block.subarray(124, 136));
  return { path, type, size: BARE.test(type) ? 0 : size, link: text(block, 157, 100) };
}

/** What entries before another one say about it: pax records, GNU's long names. */
export class Overrides {
  #pax: ReadonlyMap<string, string> = new Map();
  #path: string | undefined;
  #link: string | undefined;

  /** Whether an entry of this type says something of the one after it. */
  static isType(type: string): boolean {
    return type === "x" || type === "L" || type === "K";
  }

  /** Takes the content of such an entry. Throws as {@link readTarHeader}. */
  take(type: string, bytes: Uint8Array): void {
    if (type === "x") this.#pax = readPaxRecords(bytes);
    else if (type === "L") this.#path = text(bytes, 0, bytes.length);
    else this.#link = text(bytes, 0, bytes.length);
  }

  /** The header as they want it; they are used up then. Throws as {@link readTarHeader}. */
  apply({ type, ...header }: TarHeader): TarHeader {
    const pax = this.#pax;
    const size = pax.get("size");
    if (size !== undefined && !/^\d{1,15}$/.test(size)) throw new Error("a damaged size");
    if (type === "S" || [...pax.keys()].some((key) => key.startsWith("GNU.sparse."))) {
      throw new Error("a sparse file, which no image archive has");
    }
    const result = {
      path: pax.get("path") ?? this.#path ?? header.path,
      type,
      size: size === undefined || BARE.test(type) ? header.size : Number(size),
      link: pax.get("linkpath") ?? this.#link ?? header.link,
    };
    this.#pax = new Map();
    this.#path = this.#link = undefined;
    return result;
  }
}

function readPaxRecords(bytes: Uint8Array): ReadonlyMap<string, string> {
  const records = new Map<string, string>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const digits = space < 0 ? "" : DECODER.decode(bytes.subarray(at, Math.min(space, at + 9)));
    const end = at + Number(digits);
    const equals = bytes.indexOf(0x3d, space);
    const whole = /^[1-9]\d{0,7}$/.test(digits) && end <= bytes.length && bytes[end - 1] === 0x0a;
    if (!whole || equals < 0 || equals >= end) throw new Error("a damaged pax header");
    const key = DECODER.decode(bytes.subarray(space + 1, equals));
    records.set(key, DECODER.decode(bytes.subarray(equals + 1, end - 1)));
    at = end;
  }
  return records;
}

/** Old writers summed signed bytes. */
function checkSum(block: Uint8Array): void {
  const expected = number(block.subarray(148, 156));
  let unsigned = 0;
  let signed = 0;
  for (let at = 0; at < BLOCK; at++) {
    const counted = at >= 148 && at < 156 ? 0x20 : block[at] ?? 0;
    unsigned += counted;
    signed += counted > 127 ? counted - 256 : counted;
  }
  if (expected !== unsigned && expected !== signed) throw new Error("a damaged header");
}

function text(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return DECODER.decode(end < 0 ? field : field.subarray(0, end));
}

/** Octal, or base 256 where its first bit says so. */
function number(field: Uint8Array): number {
  const [first = 0] = field;
  if (first >= 0x80) {
    const value = field.reduce((sum, byte, at) => sum * 256 + (at === 0 ? byte & 0x7f : byte), 0);
    // Negative ones have all bits set.
    if (!Number.isSafeInteger(value)) throw new Error("a damaged size");
    return value;
  }
  const digits = DECODER.decode(field).replaceAll("\0", " ").trim();
  if (!/^[0-7]{0,12}$/.test(digits)) throw new Error("a damaged number");
  return digits === "" ? 0 : parseInt(digits, 8);
}
