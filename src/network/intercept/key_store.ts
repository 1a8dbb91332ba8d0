/**
 * Java's stores of certificates, as far as putting one in: the format JKS, which every Java reads.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";

const MAGIC = 0xfeedfeed;
const TRUSTED = 2;
const KEY = 1;
const ALIAS = "hutch";
/** What all stores of authorities have. */
const PASSWORD = "changeit";
const SALT = "Mighty Aphrodite";
const DIGEST_BYTES = 20;
const SEQUENCE = 0x30;

/** A certificate in a PKCS #12 store that isn't encrypted: this type, and the certificate in two wrappings. */
const X509_BAG = Buffer.from("060a2a864886f70d01091601", "hex");

/**
 * The store with a certificate, in the place of one that was put in before, always as JKS; undefined for
 * a store that can't be read without a password of its own.
 */
export function addToKeyStore(store: Uint8Array, pem: string): Uint8Array | undefined {
  const bytes = Buffer.from(store.buffer, store.byteOffset, store.length);
  if (bytes[0] === SEQUENCE) {
    const found = certificatesOf(bytes);
    return found.length === 0 ? undefined : storeOf([
      ...found.map((der, index) => entry(`authority-${index}`, der)),
      entry(ALIAS, derOf(pem)),
    ]);
  }
  if (bytes.length < 12 + DIGEST_BYTES || bytes.readUInt32BE(0) !== MAGIC) return undefined;
  const body = bytes.subarray(0, bytes.length - DIGEST_BYTES);
  if (bytes.readUInt32BE(4) !== 2 || !digest(body).equals(bytes.subarray(body.length))) {
    return undefined;
  }
  const entries = entriesOf(body)?.filter(({ alias }) => alias !== ALIAS);
  if (!entries) return undefined;
  return storeOf([...entries.map(({ data }) => data), entry(ALIAS, derOf(pem))]);
}

function storeOf(entries: readonly Buffer[]): Buffer {
  const made = Buffer.concat([number(MAGIC), number(2), number(entries.length), ...entries]);
  return Buffer.concat([made, digest(made)]);
}

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
}

/** Those of a PKCS #12 store without a password, as newer Javas have theirs. */
function certificatesOf(store: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; (at = store.indexOf(X509_BAG, at)) >= 0;) {
    at += X509_BAG.length;
    const outer = contentAt(store, at, 0xa0);
    const inner = outer && contentAt(outer, 0, 0x04);
    if (inner?.[0] === SEQUENCE) found.push(inner);
  }
  return found;
}

/** What is in the DER value at a place; undefined where there is none with that tag. */
function contentAt(bytes: Buffer, at: number, tag: number): Buffer | undefined {
  const first = bytes[at + 1] ?? 0x80;
  if (bytes[at] !== tag || first === 0x80 || first > 0x83) return undefined;
  const width = first < 0x80 ? 0 : first & 3;
  if (at + 2 + width > bytes.length) return undefined;
  const length = width === 0 ? first : bytes.readUIntBE(at + 2, width);
  const from = at + 2 + width;
  return length > bytes.length - from ? undefined : bytes.subarray(from, from + length);
}

function digest(body: Uint8Array): Buffer {
  const password = Buffer.from(PASSWORD, "utf16le").swap16();
  return createHash("sha1").update(password).update(SALT).update(body).digest();
}

function entry(alias: string, der: Buffer): Buffer {
  const date = Buffer.alloc(8);
  date.writeBigUInt64BE(BigInt(Date.now()));
  return Buffer.concat([
    number(TRUSTED),
    text(alias),
    date,
    text("X.509"),
    number(der.length),
    der,
  ]);
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.alloc(2 + value.length, 0, "latin1");
  bytes.writeUInt16BE(value.length);
  bytes.write(value, 2, "latin1");
  return bytes;
}

/** Undefined: it isn't well-formed. */
function entriesOf(body: Buffer): { alias: string; data: Buffer }[] | undefined {
  const entries: { alias: string; data: Buffer }[] = [];
  let at = 12;
  const take = (width: 2 | 4) => {
    const value = width === 2 ? body.readUInt16BE(at) : body.readUInt32BE(at);
    at += width;
    return value;
  };
  const skip = (length: number) => {
    if (length > body.length - at) throw new RangeError("an entry goes on beyond its store");
    at += length;
  };
  const certificate = () => {
    skip(take(2));
    skip(take(4));
  };
  try {
    for (let left = body.readUInt32BE(8); left > 0; left--) {
      const from = at;
      const kind = take(4);
      const size = take(2);
      const alias = body.toString("latin1", at, at + size);
      skip(size);
      skip(8);
      if (kind === KEY) {
        skip(take(4));
        for (let chain = take(4); chain > 0; chain--) certificate();
      } else if (kind === TRUSTED) {
        certificate();
      } else {
        return undefined;
      }
      entries.push({ alias, data: body.subarray(from, at) });
    }
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
  return at === body.length ? entries : undefined;
}
