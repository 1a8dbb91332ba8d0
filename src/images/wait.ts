/**
 * Waiting that ends at once when it is cancelled.
 *
 * @module
 */
import { HutchError } from "../errors.ts";

/** The error of an operation that its caller cancelled. */
export function cancelled(operation: string, signal: AbortSignal): HutchError {
  return new HutchError("cancelled", `Cannot ${operation}: it was cancelled`, {
    cause: signal.reason,
  });
}

/**
 * Waits `ms`.
 *
 * @throws {HutchError} `cancelled` as soon as the signal is aborted.
 */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(cancelled("wait", signal));
    const onAbort = () => {
      clearTimeout(timer);
      reject(cancelled("wait", signal));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}
