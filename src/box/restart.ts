/**
 * When a box that ended by itself is started again. Docker's rules are the model: the first restart
 * waits 100 ms, each further one in a row twice as long, up to a minute; a run of 10 s ends the row.
 *
 * @module
 */
import type { BoxStatus, RestartPolicy } from "./options.ts";

/** Wait before the first restart of a row, in `ms`. */
export const FIRST_DELAY_MS = 100;
/** Longest wait, in `ms`. */
export const LONGEST_DELAY_MS = 60_000;
/** A box that ran this long was well: the next restart begins a new row. In `ms`. */
export const GOOD_RUN_MS = 10_000;

/** A policy, taken apart. */
export interface RestartRule {
  readonly when: "never" | "failure" | "always";
  /** Restarts in a row before it gives up. */
  readonly most: number;
}

/** Reads a policy; undefined for what is none. */
export function restartRule(policy: string): RestartRule | undefined {
  if (policy === "no") return { when: "never", most: 0 };
  if (policy === "always") return { when: "always", most: Infinity };
  const match = /^on-failure(?::([1-9]\d{0,8}))?$/.exec(policy);
  if (!match) return undefined;
  return { when: "failure", most: match[1] === undefined ? Infinity : Number(match[1]) };
}

/** What is to be done with a box that ended by itself. */
export type RestartDecision =
  | { readonly restart: true; readonly delayMs: number }
  /** `reason`: why the policy gave up, where it would have restarted the box otherwise. */
  | { readonly restart: false; readonly reason: string | null };

/**
 * Decides for a box that nobody ended on purpose.
 *
 * @param end How it ended: `stopped` is a clean end unless its main command ended with another code
 * than 0; `crashed` and `failed` aren't.
 * @param row Restarts in a row so far.
 */
export function decideRestart(
  policy: RestartPolicy,
  { status, exitCode }: { readonly status: BoxStatus; readonly exitCode: number | null },
  row: number,
): RestartDecision {
  const { when, most } = restartRule(policy) ?? { when: "never", most: 0 };
  const clean = status === "stopped" && (exitCode ?? 0) === 0;
  if (when === "never" || (when === "failure" && clean)) {
    return { restart: false, reason: null };
  }
  if (row >= most) {
    const times = row === 1 ? "once" : `${row} times in a row`;
    return {
      restart: false,
      reason: `restarted ${times}, and its policy ${policy} allows no more`,
    };
  }
  return { restart: true, delayMs: Math.min(FIRST_DELAY_MS * 2 ** row, LONGEST_DELAY_MS) };
}
