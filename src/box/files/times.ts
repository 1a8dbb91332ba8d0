/**
 * Times of files, as the guest takes them.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { HeadValue } from "./wire.ts";

/** The fields of an `utime` request; numbers are seconds since 1970, as in `Deno.utime`. */
export function utimeFields(
  atime: number | Date,
  mtime: number | Date,
): Record<string, HeadValue> {
  const [accessed, modified] = [split(atime), split(mtime)];
  return {
    ...{ atime: accessed.seconds, atimeNs: accessed.nanoseconds },
    ...{ mtime: modified.seconds, mtimeNs: modified.nanoseconds },
  };
}

/** A length of a file in bytes. Throws `invalid_option`. */
export function checkLength(length: number): number {
  if (Number.isSafeInteger(length) && length >= 0) return length + 0;
  throw new HutchError("invalid_option", `Cannot make a file ${length} bytes long`);
}

function split(time: number | Date): { seconds: number; nanoseconds: number } {
  const ms = time instanceof Date ? time.getTime() : time * 1000;
  const seconds = Math.floor(ms / 1000) + 0; // no negative zero, which isn't a whole number in CBOR
  if (!Number.isSafeInteger(seconds)) {
    throw new HutchError("invalid_option", `Cannot set a file's time: ${time} isn't one`);
  }
  return { seconds, nanoseconds: Math.floor((ms - seconds * 1000) * 1e6) };
}
