/**
 * Times of files, as the guest takes them.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { HeadValue } from "./wire.ts";

/** A `Date` goes no further, so `stat` couldn't tell others. */
const MOST_SECONDS = 8.64e12;
const MOST_NANOSECONDS = 999_999_999;

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

function split(time: number | Date): { seconds: number; nanoseconds: number } {
  // No negative zero, which isn't a whole number in CBOR.
  const ms = (time instanceof Date ? time.getTime() : time * 1000) + 0;
  const seconds = Math.floor(ms / 1000);
  if (!(Math.abs(seconds) <= MOST_SECONDS)) {
    throw new HutchError("invalid_option", `Cannot set a file's time: ${time} isn't one`);
  }
  const nanoseconds = Math.floor((ms - seconds * 1000) * 1e6); // a whole second, if just before one
  return { seconds, nanoseconds: Math.min(nanoseconds, MOST_NANOSECONDS) };
}
