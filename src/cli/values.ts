/**
 * Readers of option values. Each throws `invalid_option` and names the option and the value.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** Collects a repeatable option's values. */
export function collect(value: string, previous: readonly string[] | undefined): string[] {
  return [...previous ?? [], value];
}

/** A whole number, as decimal digits. */
export function parseCount(text: string, what: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : NaN;
  if (Number.isNaN(value)) {
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is not a whole number`,
    );
  }
  return value;
}

/** Longest time that can be asked for, in seconds: about 24 days, what timers can wait. */
const MAX_SECONDS = 2_147_483;

/** A time in seconds (`30`, `0.5`), or with a unit (`500ms`, `30s`, `2m`); gives `ms`. */
export function parseTimeMs(text: string, what: string): number {
  const match = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h)?$/.exec(text);
  const factor = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match?.[2] ?? "s"] ?? NaN;
  const ms = match ? Math.round(Number(match[1]) * factor) : NaN;
  if (Number.isNaN(ms)) {
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is not a time`,
      { hint: "give seconds, or a number with a unit, such as 500ms, 30s or 2m" },
    );
  }
  if (ms > MAX_SECONDS * 1000) {
    throw new HutchError(
      "invalid_option",
      `Cannot read ${what}: ${JSON.stringify(text)} is more than ${MAX_SECONDS} seconds`,
    );
  }
  return ms;
}

/** `KEY=VALUE` pairs, or `KEY` alone for an empty value; later ones win. */
export function parseLabels(pairs: readonly string[], what: string): Record<string, string> {
  const labels: [string, string][] = [];
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    const key = at < 0 ? pair : pair.slice(0, at);
    if (key === "") {
      throw new HutchError(
        "invalid_option",
        `Cannot read ${what}: ${JSON.stringify(pair)} has no key`,
        { hint: "write KEY=VALUE" },
      );
    }
    labels.push([key, at < 0 ? "" : pair.slice(at + 1)]);
  }
  // Not an assignment: a key may be `__proto__`.
  return Object.fromEntries(labels);
}
