/**
 * Waiting that ends at once when it is cancelled.
 *
 * @module
 */
import { FileLock } from "../file_lock.ts";
import { HutchError } from "../errors.ts";

const LOCK_PAUSE_MS = 30;

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

/**
 * Waits for a file lock.
 *
 * @throws {HutchError} `cancelled` as soon as the signal is aborted.
 */
export async function lockFile(path: string, signal: AbortSignal): Promise<FileLock> {
  for (;;) {
    if (signal.aborted) throw cancelled("wait for another program", signal);
    const lock = FileLock.try(path);
    if (lock) return lock;
    await sleep(LOCK_PAUSE_MS, signal);
  }
}
