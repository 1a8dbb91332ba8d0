/**
 * How long a machine may live, kept by its box process.
 *
 * A box is idle while no stream is open but pings and health checks, and its network carries nothing:
 * a command is activity from its start to its end, whether or not it says anything, and so is a file
 * on its way; of connections it is what they carry. The idle time begins when the last stream closes,
 * or with the network's last packet. That is asked for when the streams have been idle for long enough,
 * since a box that is left alone should cost nothing. Time in which the box process itself was stopped (its box was
 * paused, the host slept) doesn't count as idle; it does count for the longest life.
 *
 * @module
 */
import { after } from "./timer.ts";

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
    if (passed > 2 * STEP_MS) { // we were stopped
      this.#idleFromMs = Math.max(this.#idleFromMs, idleSinceMs ?? 0) + passed;
    }
    if (maxDurationMs !== null && nowMs - this.#startedMs >= maxDurationMs) return "age";
    if (idleTimeoutMs === null || idleSinceMs === undefined) return undefined;
    return nowMs - Math.max(idleSinceMs, this.#idleFromMs) >= idleTimeoutMs ? "idle" : undefined;
  }

  /** It wasn't idle up to this moment, as it turned out. */
  wasActive(atMs: number): void {
    this.#idleFromMs = Math.max(this.#idleFromMs, atMs);
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
  /**
   * For how long its network has carried nothing, in `ms`; asked like {@link answers}.
   * @default {it has none}
   */
  readonly networkQuietMs?: (() => Promise<number>) | undefined;
  /** Called once, with the reason for people. */
  readonly reached: (message: string) => void;
}

/** Looks at the limits until one is reached or it is stopped. */
export function keepLimits(options: KeepLimitsOptions): { stop(): void } {
  const { limits, idleSinceMs, reached } = options;
  const watch = new LimitWatch(limits, performance.now());
  let timer: Disposable | undefined;
  let stopped = false;
  const stop = () => {
    stopped = true;
    timer?.[Symbol.dispose]();
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
    void activeMs(options).then((atMs) => {
      asking = false;
      watch.wasActive(atMs);
      // Somebody may have come meanwhile.
      if (watch.look(performance.now(), idleSinceMs()) !== "idle") return;
      end(`it was idle for ${inWords(limits.idleTimeoutMs)}`);
    });
  };
  const arm = () => {
    const wait = watch.waitMs(performance.now());
    if (wait !== undefined) timer = after(wait, look);
  };
  arm();
  return { stop };
}

/** Until when a machine whose streams are idle was active all the same; never rejects. */
async function activeMs({ answers, networkQuietMs }: KeepLimitsOptions): Promise<number> {
  try {
    if (await answers()) return networkQuietMs ? performance.now() - await networkQuietMs() : 0;
  } catch {
    // Its network is ending, and the machine with it.
  }
  return performance.now();
}

/** `90000` → `90 s`; `1500` → `1.5 s`. */
function inWords(ms: number | null): string {
  return `${Math.round(ms ?? 0) / 1000} s`;
}
