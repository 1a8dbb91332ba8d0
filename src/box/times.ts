/**
 * Times that callers ask for.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** Longest time that one timer can wait, in `ms`; with more, it rings at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Most that anything gets to end, in `ms`: a day, as the agent has it. */
export const LONGEST_GRACE_MS = 24 * 60 * 60 * 1000;

/**
 * Checks a time in `ms`.
 *
 * @throws HutchError `invalid_option` that names it, unless it is undefined or one in these bounds.
 */
export function checkMs(name: string, ms: number | undefined, least: number, most: number): void {
  if (ms === undefined || (ms >= least && ms <= most)) return;
  throw new HutchError(
    "invalid_option",
    `Cannot use ${name} of ${ms} ms: it isn't from ${least} to ${most}`,
  );
}
