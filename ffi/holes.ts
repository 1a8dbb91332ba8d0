/**
 * Holes of sparse files.
 *
 * @module
 */
import { helper } from "./library.ts";
import { cString, unwrap } from "./result.ts";

/**
 * The first place of a file from `offset` on that isn't in a hole; the file's length when there is
 * none, `offset` itself where that isn't known.
 *
 * @example
 * ```ts
 * import { nextDataOf } from "@hutch/hutch";
 * console.log(nextDataOf("/etc/hostname", 0)); // 0
 * ```
 *
 * @throws HutchError `part_missing`, `invalid_option` when there is no such file, `home_unusable`
 */
export function nextDataOf(path: string, offset: number): number {
  return unwrap(Number(helper().hutch_next_data(cString(path), BigInt(offset))), `read ${path}`);
}
