/**
 * What passes between TypeScript and C: results and strings.
 *
 * @module
 */
import { constants } from "node:os";
import { type ErrorCode, HutchError } from "../src/errors.ts";

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno).map(([name, number]) => [number, name]),
);

// ffi/helper/helper.h says what these mean for images; what isn't here is the disk's fault.
const CODES: Readonly<Record<string, ErrorCode>> = {
  EBADMSG: "invalid_image",
  EDQUOT: "no_space",
  EEXIST: "invalid_option",
  EFBIG: "limit_exceeded",
  EINVAL: "invalid_option",
  ENOENT: "invalid_option",
  ENOSPC: "no_space",
};

/** The name of a negative errno, such as `ENOENT`. */
export function errnoName(result: number): string {
  return NAMES.get(-result) ?? `error ${-result}`;
}

/**
 * Passes a result of 0 or more on.
 *
 * @param doing What couldn't be done, for the message: `write image FILE`.
 * @param detail The handle's own line about it.
 * @throws HutchError for a negative one: `invalid_image`, `limit_exceeded`, `no_space`,
 * `invalid_option`, else `home_unusable`.
 */
export function unwrap(result: number, doing: string, detail: () => string = () => ""): number {
  if (result >= 0) return result;
  const name = errnoName(result);
  const code = CODES[name] ?? "home_unusable";
  const why = code === "no_space" ? "no space is left on its disk" : detail() || name;
  throw new HutchError(code, `Cannot ${doing}: ${why}`, {
    cause: Object.assign(new Error(name), { code: name }),
    ...(code === "no_space" ? { hint: "free some room there" } : {}),
  });
}

/** A C string; refuses text that C would cut short. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) {
    throw new HutchError(
      "invalid_option",
      `Cannot use ${JSON.stringify(text)}: it has a zero byte`,
    );
  }
  return new TextEncoder().encode(`${text}\0`);
}
