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
 * What a promise gives, for those that may not notice the signal themselves.
 *
 * @param options `graceMs` is the time to tidy up for those that do notice, none by default; `late`
 * gets what comes after all, when nobody waits for it any more.
 * @throws {HutchError} `cancelled` once the signal is aborted.
 */
export async function orCancelled<T>(
  promise: Promise<T>,
  operation: string,
  { signal, graceMs = 0, late = () => {} }: {
    readonly signal: AbortSignal;
    readonly graceMs?: number;
    readonly late?: (value: T) => void;
  },
): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const end = () => reject(cancelled(operation, signal));
  let grace: ReturnType<typeof setTimeout> | undefined;
  const onAbort = () => {
    if (graceMs === 0) end();
    else grace = setTimeout(end, graceMs);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    if (signal.aborted) onAbort();
    return await Promise.race([promise, aborted]);
  } catch (error) {
    if (signal.aborted) promise.then(late, () => {});
    throw error;
  } finally {
    clearTimeout(grace);
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * Waits for a file lock.
 *
 * @param onWait Called each time somebody else is found to hold it.
 * @throws {HutchError} `cancelled` as soon as the signal is aborted.
 */
export async function lockFile(
  path: string,
  signal: AbortSignal,
  onWait?: () => void | Promise<void>,
): Promise<FileLock> {
  for (;;) {
    if (signal.aborted) throw cancelled("wait for another program", signal);
    const lock = FileLock.try(path);
    if (lock) return lock;
    await onWait?.();
    await sleep(LOCK_PAUSE_MS, signal);
  }
}
