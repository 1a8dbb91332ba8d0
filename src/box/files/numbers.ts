/**
 * The numbers of requests. The guest's program for files ends over one that it can't take, and every
 * other request with it, so they are checked before they are sent.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";

const MODE_BITS = 0o7777;
const MOST_MODE = 2 ** 32 - 1;
/** The number above means "as it is" to Linux. */
const MOST_OWNER = 2 ** 32 - 2;

/** Permissions; what a file's mode has beside them is left out, as of `stat`. Throws `invalid_option`. */
export function checkMode(mode: number): number {
  if (isWhole(mode, MOST_MODE)) return mode & MODE_BITS;
  throw refused(`use mode ${mode}`, `isn't a whole number from 0 to ${MOST_MODE}`);
}

/** The number of a user or group; null leaves it as it is. Throws `invalid_option`. */
export function checkOwner(kind: "user" | "group", id: number | null): number {
  if (id === null) return -1;
  if (isWhole(id, MOST_OWNER)) return id + 0;
  throw refused(`use ${kind} ${id}`, `isn't a whole number from 0 to ${MOST_OWNER}`);
}

/** A length of a file in bytes. Throws `invalid_option`. */
export function checkLength(length: number): number {
  if (isWhole(length)) return length + 0; // no negative zero, which isn't a whole number in CBOR
  throw new HutchError("invalid_option", `Cannot make a file ${length} bytes long`);
}

/** An option that says how many at most. Throws `invalid_option`. */
export function checkMost(option: string, most: number): number {
  if (most === Infinity || isWhole(most)) return most;
  throw refused(`use ${option} ${most}`, "is neither a whole number from 0 nor Infinity");
}

/** Whatever is asked: a number in a request is a whole one. Throws `invalid_option`. */
export function checkWhole(name: string, value: number): void {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return;
  throw refused(`use ${name} ${value}`, "isn't a whole number below 2^53");
}

function isWhole(value: number, most = Number.MAX_SAFE_INTEGER): boolean {
  return Number.isSafeInteger(value) && value >= 0 && value <= most;
}

function refused(what: string, why: string): HutchError {
  return new HutchError("invalid_option", `Cannot ${what} for a box's files: it ${why}`);
}
