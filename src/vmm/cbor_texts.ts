/**
 * The little CBOR that the box process says itself: it loads no encoder.
 *
 * @module
 */

/** A CBOR map of fewer than 24 texts (each up to 255 bytes) and numbers below 24. */
export function cborTexts(
  ...pairs: readonly (readonly [string, string | number])[]
): Uint8Array<ArrayBuffer> {
  const bytes = [0xa0 + pairs.length];
  for (const value of pairs.flat()) {
    if (typeof value === "number") {
      bytes.push(value);
      continue;
    }
    const text = new TextEncoder().encode(value);
    if (text.length < 24) bytes.push(0x60 + text.length);
    else bytes.push(0x78, text.length);
    bytes.push(...text);
  }
  return Uint8Array.from(bytes);
}
