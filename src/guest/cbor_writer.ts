/**
 * Writing CBOR, as far as the host's messages need it. Every command begins with one, and the
 * package that reads the agent's answers takes 0.1 ms to write it: thirty times as long, and
 * milliseconds on a slow machine.
 *
 * @module
 */

const [UINT, NEGATIVE, BYTES, TEXT, ARRAY, MAP] = [0, 1, 2, 3, 4, 5];
const [FALSE, TRUE, NULL, FLOAT64] = [0xf4, 0xf5, 0xf6, 0xfb];
/** Bytes that a value's head takes at most. */
const HEAD = 9;
/** UTF-8 bytes that a UTF-16 unit takes at most. */
const UTF8_MOST = 3;
/** Room at first; enough for most messages. */
const ROOM = 2048;
/** Memory above this isn't kept. */
const MOST_KEPT = 64 * 1024;

const encoder = new TextEncoder();

/**
 * A value as CBOR (RFC 8949), of definite lengths and with the shortest heads: texts, numbers,
 * booleans, null, `Uint8Array`, arrays and plain objects. Fields that are undefined are left out.
 */
export function writeCbor(value: unknown): Uint8Array<ArrayBuffer> {
  writer.begin();
  writer.write(value);
  return writer.bytes();
}

class CborWriter {
  #memory = new Uint8Array(ROOM);
  #view = new DataView(this.#memory.buffer);
  #at = 0;

  /** Memory that a large message took isn't kept. */
  begin(): void {
    this.#at = 0;
    if (this.#memory.length > MOST_KEPT) this.#use(new Uint8Array(ROOM));
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#memory.slice(0, this.#at);
  }

  write(value: unknown): void {
    if (typeof value === "string") this.#text(value);
    else if (typeof value === "number") this.#number(value);
    else if (typeof value === "boolean") this.#byte(value ? TRUE : FALSE);
    else if (value === null) this.#byte(NULL);
    else if (value instanceof Uint8Array) this.#bytes(value);
    else if (Array.isArray(value)) this.#array(value);
    else if (typeof value === "object") this.#map(value);
    else throw new TypeError(`Cannot write a ${typeof value} as CBOR`);
  }

  #array(values: readonly unknown[]): void {
    this.#head(ARRAY, values.length);
    for (const each of values) this.write(each);
  }

  #map(object: object): void {
    const all: readonly [string, unknown][] = Object.entries(object);
    const fields = all.filter(([, value]) => value !== undefined);
    this.#head(MAP, fields.length);
    for (const [name, value] of fields) {
      this.#text(name);
      this.write(value);
    }
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#room(HEAD);
      this.#byte(FLOAT64);
      this.#view.setFloat64(this.#at, value);
      this.#at += 8;
    } else if (value >= 0) this.#head(UINT, value);
    else this.#head(NEGATIVE, -1 - value);
  }

  #text(text: string): void {
    const most = text.length * UTF8_MOST;
    if (most >= 24) {
      // Its length must be known before its bytes are written.
      const bytes = encoder.encode(text);
      this.#head(TEXT, bytes.length);
      this.#put(bytes);
      return;
    }
    this.#room(1 + most);
    const { written } = encoder.encodeInto(text, this.#memory.subarray(this.#at + 1));
    this.#byte(TEXT << 5 | written);
    this.#at += written;
  }

  #bytes(bytes: Uint8Array): void {
    this.#head(BYTES, bytes.length);
    this.#put(bytes);
  }

  #put(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#memory.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #head(kind: number, count: number): void {
    this.#room(HEAD);
    const first = kind << 5;
    if (count < 24) this.#byte(first | count);
    else if (count < 2 ** 8) {
      this.#byte(first | 24);
      this.#byte(count);
    } else if (count < 2 ** 16) {
      this.#byte(first | 25);
      this.#view.setUint16(this.#at, count);
      this.#at += 2;
    } else if (count < 2 ** 32) {
      this.#byte(first | 26);
      this.#view.setUint32(this.#at, count);
      this.#at += 4;
    } else {
      this.#byte(first | 27);
      this.#view.setUint32(this.#at, Math.floor(count / 2 ** 32));
      this.#view.setUint32(this.#at + 4, count >>> 0);
      this.#at += 8;
    }
  }

  #byte(byte: number): void {
    this.#room(1);
    this.#memory[this.#at++] = byte;
  }

  #room(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#memory.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#memory.length));
    grown.set(this.#memory.subarray(0, this.#at));
    this.#use(grown);
  }

  #use(memory: Uint8Array<ArrayBuffer>): void {
    this.#memory = memory;
    this.#view = new DataView(memory.buffer);
  }
}

/** One for all: its memory is used again. */
const writer = new CborWriter();
