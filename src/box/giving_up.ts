/**
 * What those who give something up by a signal get.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { cancelled } from "../images/wait.ts";

/** Throws when `signal` is aborted: `cancelled` with its reason, or what is such an error already. */
export function throwIfGivenUp(signal: AbortSignal | undefined, what: string): void {
  if (!signal?.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof HutchError && reason.code === "cancelled"
    ? reason
    : cancelled(what, signal);
}

/**
 * What work gives, or how it failed; once `signal` is aborted that is for being given up, in whichever
 * words the work says so.
 *
 * @param what What can't be done then, to follow "Cannot".
 */
export async function orGivenUp<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  what: string,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throwIfGivenUp(signal, what);
    throw error;
  }
}
