/**
 * Readers of option values. Each throws `invalid_option` and names the option and the value.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { nearest } from "../suggest.ts";

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

/** One of a few words. */
export function parseChoice<T extends string>(
  text: string,
  choices: readonly T[],
  what: string,
): T {
  const chosen = choices.find((choice) => choice === text);
  if (chosen !== undefined) return chosen;
  const near = nearest(text, choices);
  throw new HutchError(
    "invalid_option",
    `Cannot read ${what}: ${JSON.stringify(text)} is not one of ${choices.join(", ")}`,
    near === undefined ? {} : { hint: `did you mean ${near}?` },
  );
}

/**
 * A moment: a date and time (`2026-01-31`, `2026-01-31T10:00:00Z`; local where it has no zone),
 * seconds since 1970, `now`, or how long ago (`90s`, `10m`, `1h30m`, `2d`).
 *
 * @param now In `ms` since 1970.
 */
export function parseMoment(text: string, what: string, now: number = Date.now()): Date {
  const at = momentOf(text.trim(), now);
  // Years of more than four digits don't compare as texts.
  if (at >= 0 && at < Date.UTC(10_000, 0)) return new Date(at);
  throw new HutchError(
    "invalid_option",
    `Cannot read ${what}: ${JSON.stringify(text)} is not a time`,
    { hint: "give a date such as 2026-01-31T10:00:00Z, or how long ago, such as 10m or 1h30m" },
  );
}

function momentOf(text: string, now: number): number {
  if (text === "now") return now;
  if (/^\d{1,11}(\.\d{1,9})?$/.test(text)) return Math.round(Number(text) * 1000);
  const parts = [...text.matchAll(/(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h|d)/g)];
  if (text !== "" && parts.map(([part]) => part).join("") === text) {
    const units: Record<string, number> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 };
    const ms = parts.reduce((sum, [, n, unit = ""]) => sum + Number(n) * (units[unit] ?? NaN), 0);
    return Math.max(0, Math.round(now - ms));
  }
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) return Date.parse(`${text}T00:00`); // local, as with a time
  return /^\d{4}-\d{2}-\d{2}[T ]\d{2}:/.test(text) ? Date.parse(text.replace(" ", "T")) : NaN;
}
