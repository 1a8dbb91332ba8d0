/**
 * Content digests, `sha256:` and 64 lower-case hexadecimal digits.
 *
 * @module
 */
import { createHash } from "node:crypto";

const GRAMMAR = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const SHA256 = /^sha256:[0-9a-f]{64}$/;

/** Whether `text` is a digest that hutch can check. */
export function isDigest(text: string): boolean {
  return SHA256.test(text);
}

/**
 * `text` itself if it is a digest that hutch can check, sha256.
 *
 * @throws {Error} saying what is wrong with it.
 */
export function parseDigest(text: string): string {
  if (SHA256.test(text)) return text;
  const shown = JSON.stringify(text.length > 160 ? `${text.slice(0, 160)}…` : text);
  if (!GRAMMAR.test(text)) throw new Error(`digest ${shown} isn't ALGORITHM:HEX`);
  if (!text.startsWith("sha256:")) {
    throw new Error(`digest ${shown} has an algorithm other than sha256`);
  }
  throw new Error(`digest ${shown} isn't sha256: and 64 lower-case hexadecimal digits`);
}

/** The hexadecimal part of a digest that {@link isDigest} accepts; safe as a file name. */
export function digestHex(digest: string): string {
  return parseDigest(digest).slice("sha256:".length);
}

/** The digest of `bytes`. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
