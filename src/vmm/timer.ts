/**
 * Timers of the box process. `setTimeout` is Node's, which is loaded when a process touches it first: that
 * takes 5 ms of each box's start, and memory for all its life.
 *
 * @module
 */

/** Calls `run` once after `ms`, of which there may be 2³¹ − 1; not if it is disposed of before. */
export function after(ms: number, run: () => void): Disposable {
  const signal = AbortSignal.timeout(ms);
  signal.addEventListener("abort", run, { once: true });
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", run) };
}
