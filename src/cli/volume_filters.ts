/**
 * `--filter` of the commands of `hutch volume`.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** Reads `label=KEY` and `label=KEY=VALUE`: all of them count. */
export function labelFilters(filters: readonly string[]): Record<string, string | true> {
  return Object.fromEntries(filters.map((filter): [string, string | true] => {
    const [, key = "", value] = /^label=([^=]+)(?:=(.*))?$/s.exec(filter) ?? [];
    if (key !== "") return [key, value ?? true];
    throw new HutchError(
      "invalid_option",
      `Cannot read --filter: ${JSON.stringify(filter)} is not a filter`,
      { hint: "write label=KEY or label=KEY=VALUE" },
    );
  }));
}
