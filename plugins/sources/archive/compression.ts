/**
 * What a file is compressed with, by its first bytes.
 *
 * @module
 */

/** How many bytes {@link compressionOf} wants, where there are as many. */
export const MAGIC_LENGTH = 10;

/** What the first bytes say; undefined is a compression that hutch can't read. */
export function compressionOf(start: Uint8Array): "none" | "gzip" | "zstd" | undefined {
  const has = (at: number, ...magic: readonly number[]) =>
    magic.every((byte, index) => start[at + index] === byte);
  if (has(0, 0x1f, 0x8b)) return "gzip";
  const skippable = start[0] !== undefined && (start[0] & 0xf0) === 0x50 &&
    has(1, 0x2a, 0x4d, 0x18);
  if (has(0, 0x28, 0xb5, 0x2f, 0xfd) || skippable) return "zstd";
  const xz = has(0, 0xfd, 0x37, 0x7a, 0x58, 0x5a, 0);
  const bzip2 = has(0, 0x42, 0x5a, 0x68) && has(4, 0x31, 0x41, 0x59, 0x26, 0x53, 0x59);
  return xz || bzip2 ? undefined : "none";
}
