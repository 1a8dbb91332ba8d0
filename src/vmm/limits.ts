/**
 * How long a machine may live, kept by its box process.
 *
 * A box is idle while no stream is open but pings and health checks: a command is activity from its
 * start to its end, whether or not it says anything, and so is a file on its way. The idle time
 * begins when the last stream closes. Time in which the box process itself was stopped (its box was
 * paused, the host slept) doesn't count as idle; it does count for the longest life.
 *
 * @module
 */

/** When a machine is to be ended; null for never. */
export interface Limits {
  /** So long after its start, in `ms`. */
  readonly maxDurationMs: number | null;
  /** When nothing was under way for so long, in `ms`. */
  readonly idleTimeoutMs: number | null;
}

/** Longest wait between two looks, in `ms`; also how late a look may be before it counts as a stop. */
const STEP_MS = 1_000;

/** Finds out when a limit is reached. All times are `performance.now()`'s. */
export class LimitWatch {
  readonly #limits: Limits;
  readonly #startedMs: number;
  #lookedMs: number;
  /** Idle times before this don't count. */
  #idleFromMs: number;

  /** A machine that starts at `nowMs`. */
  constructor(limits: Limits, nowMs: number) {
    this.#limits = limits;
    this.#startedMs = nowMs;
    this.#lookedMs = nowMs;
    this.#idleFromMs = nowMs;
  }

  /** How long to wait before the next look, in `ms`; undefined if there is nothing to look for. */
  waitMs(nowMs: number): number | undefined {
    const { maxDurationMs, idleTimeoutMs } = this.#limits;
    if (maxDurationMs === null && idleTimeoutMs === null) return undefined;
    const left = maxDurationMs === null ? Infinity : this.#startedMs + maxDurationMs - nowMs;
    const step = idleTimeoutMs === null ? STEP_MS : Math.min(STEP_MS, idleTimeoutMs / 4);
    return Math.max(1, Math.min(left, step));
  }

  /**
   * Which limit is reached.
   *
   * @param idleSinceMs Since when nothing is under way; undefined while something is.
   */
  look(nowMs: number, idleSinceMs: number | undefined): "age" | "idle" | undefined {
    const { maxDurationMs, idleTimeoutMs } = this.#limits;
    const passed = nowMs - this.#lookedMs;
    this.#lookedMs = nowMs;
    if (passed > 2 * STEP_MS) this.#idleFromMs += passed; // we were stopped
    if (maxDurationMs !== null && nowMs - this.#startedMs >= maxDurationMs) return "age";
    if (idleTimeoutMs === null || idleSinceMs === undefined) return undefined;
    return nowMs - Math.max(idleSinceMs, this.#idleFromMs) >= idleTimeoutMs ? "idle" : undefined;
  }

  /** It wasn't idle, as it turned out: it is looked at anew. */
  postpone(nowMs: number): void {
    this.#idleFromMs = nowMs;
  }
}

/** Options of {@link keepLimits}. */
export interface KeepLimitsOptions {
  readonly limits: Limits;
  /** Since when nothing is under way; undefined while something is. */
  readonly idleSinceMs: () => number | undefined;
  /**
   * Whether the guest answers soon. One that doesn't is paused, or ill: ending it is no matter of
   * idleness. It is asked once at a time.
   */
  readonly answers: () => Promise<boolean>;
  /** Called once, with the reason for people. */
  readonly reached: (message: string) => void;
}

/** Looks at the limits until one is reached or it is stopped. */
export function keepLimits(options: KeepLimitsOptions): { stop(): void } {
  const { limits, idleSinceMs, answers, reached } = options;
  const watch = new LimitWatch(limits, performance.now());
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;
  const stop = () => {
    stopped = true;
    clearTimeout(timer);
  };
  const end = (message: string) => {
    if (stopped) return;
    stop();
    reached(message);
  };
  let asking = false;
  const look = () => {
    arm();
    const limit = watch.look(performance.now(), idleSinceMs());
    if (limit === "age") {
      return end(`its maximum duration of ${inWords(limits.maxDurationMs)} ended`);
    }
    if (limit !== "idle" || asking) return;
    asking = true;
    void answers().then((answered) => {
      asking = false;
      // Somebody may have come meanwhile.
      if (!answered || watch.look(performance.now(), idleSinceMs()) !== "idle") {
        return watch.postpone(performance.now());
      }
      end(`it was idle for ${inWords(limits.idleTimeoutMs)}`);
    });
  };
  const arm = () => {
    const wait = watch.waitMs(performance.now());
    if (wait !== undefined) timer = setTimeout(look, wait);
  };
  arm();
  return { stop };
}

/** `90000` → `90 s`; `1500` → `1.5 s`. */
function inWords(ms: number | null): string {
  return `${Math.round(ms ?? 0) / 1000} s`;
}
