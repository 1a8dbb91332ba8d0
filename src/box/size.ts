/**
 * Sizes as people write them.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

const PATTERN = /^(\d+(?:\.\d*)?|\.\d+)[ ]?(?:([kmgtp])(?:i?b)?|b)?$/i;
const POWERS = "kmgtp";
const MIB = 1024 * 1024;

/**
 * Reads a size as Docker's command line does (`512m`, `2g`, `1.5GiB`, a plain number of bytes) and
 * gives it in `MiB`, rounded up. All units are binary: `1k` is 1024 bytes. A number (not text) is
 * one of `MiB` already, and whole.
 *
 * @param size The size.
 * @param what What it is the size of, for the error: `--memory`, `memory`.
 * @throws {HutchError} `invalid_option` when it isn't a size, is 0, or is beyond any machine.
 *
 * @example Memory of a box
 * ```ts
 * import { parseSizeMiB } from "./size.ts";
 * console.log(parseSizeMiB("1.5GiB", "memory")); // 1536
 * ```
 */
export function parseSizeMiB(size: number | string, what: string): number {
  if (typeof size === "number") return wholeMiB(size, what);
  const text = size;
  const match = PATTERN.exec(text.trim());
  if (!match) {
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is not a size`,
      {
        hint: "give a number with a unit, such as 512m, 2g or 1.5GiB",
      },
    );
  }
  const unit = (match[2] ?? "").toLowerCase();
  const bytes = Number(match[1]) * 1024 ** (unit === "" ? 0 : POWERS.indexOf(unit) + 1);
  if (bytes === 0) {
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is nothing`,
      {
        hint: "give a size above 0, such as 512m",
      },
    );
  }
  if (unit === "" && bytes < MIB) {
    // Without this, "512" would be refused later as "1 MiB", which nobody wrote.
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is a number of bytes, less than 1 MiB`,
      {
        hint: "add a unit, such as 512m or 2g",
      },
    );
  }
  if (bytes > Number.MAX_SAFE_INTEGER) {
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is beyond any machine`,
      {
        hint: "give at most 8191t",
      },
    );
  }
  return Math.ceil(bytes / MIB);
}

function wholeMiB(size: number, what: string): number {
  if (Number.isSafeInteger(size) && size > 0) return size;
  throw new HutchError(
    "invalid_option",
    `Cannot read ${what}: ${size} is not a whole number of MiB above 0`,
    { hint: 'give a whole number of MiB, or text such as "512m"' },
  );
}
