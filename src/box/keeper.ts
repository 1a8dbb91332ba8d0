/**
 * A keeper looks after one box: it checks the box's health, and starts it again when it ended by
 * itself and its policy says so. What it does is here; how, is a {@link KeeperPort}'s.
 *
 * @module
 */
import { errorText } from "../errors.ts";
import type { Clock } from "./clock.ts";
import { type CheckResult, type HealthChange, HealthWatch } from "./health.ts";
import type { BoxStatus, HealthCheck, HealthStatus, RestartPolicy } from "./options.ts";
import { decideRestart, GOOD_RUN_MS } from "./restart.ts";

/** A box as its keeper sees it. */
export interface KeptBox {
  readonly status: BoxStatus;
  /** Of its main command, once that ended. */
  readonly exitCode: number | null;
  /** Whether nobody ended it on purpose: its policy may start it again. */
  readonly kept: boolean;
  readonly policy: RestartPolicy;
  /** Restarts in a row so far. */
  readonly row: number;
  readonly check: Required<HealthCheck> | null;
  readonly health: HealthStatus;
  /** Tells its present run from those before. */
  readonly run: string;
  /** Another value each time that its state changed. */
  readonly revision: number;
}

/** A connection to the box's guest. */
export interface KeptGuest extends AsyncDisposable {
  /** Resolves when the connection is over; never rejects. */
  readonly closed: Promise<void>;
  /** Looks whether the box is well; what goes wrong is a failed check. */
  check(check: Required<HealthCheck>, signal: AbortSignal): Promise<CheckResult>;
}

/** How a keeper gets at its box. */
export interface KeeperPort {
  /** The box, its record made true; undefined when it is gone. */
  look(): Promise<KeptBox | undefined>;
  /** Connects to its guest. */
  connect(signal: AbortSignal): Promise<KeptGuest>;
  /** Starts it again, as the `row`th time in a row; a failure is recorded as any failed start. */
  restart(row: number, signal: AbortSignal): Promise<void>;
  /** Records and tells a change of its health. */
  healthChanged(change: HealthChange): void;
  /** It is kept no more; `reason` is why its policy gave up, if it did. */
  giveUp(reason: string | null): void;
  /** Tells the log. */
  log(line: string): void;
}

/** Between two looks at a box that somebody works on, or that can't be reached, in `ms`. */
const LOOK_MS = 200;
/** Between two looks at a paused box, in `ms`. */
const PAUSED_LOOK_MS = 2_000;
/** Between two looks when looking itself failed, in `ms`. */
const FAILED_LOOK_MS = 5_000;

/** Looks after one box until it is ended on purpose, removed, or given up. */
export class Keeper {
  readonly #port: KeeperPort;
  readonly #clock: Clock;
  /** When the box was first seen running in its present run; no wall clock, which may be set meanwhile. */
  #ranFromMs: number | undefined;
  #run = "";

  /** A keeper that waits for {@link Keeper.run}. */
  constructor(port: KeeperPort, clock: Clock) {
    this.#port = port;
    this.#clock = clock;
  }

  /** Keeps the box; resolves when there is nothing to keep any more, or `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        if (!await this.#step(signal)) return;
      } catch (error) {
        // Such as a full disk, or a database that others keep busy: it may pass.
        this.#port.log(`looking after the box: ${errorText(error)}`);
        await this.#clock.sleep(FAILED_LOOK_MS, signal);
      }
    }
  }

  /** One turn; false when the keeper's work is done. */
  async #step(signal: AbortSignal): Promise<boolean> {
    const box = await this.#port.look();
    if (!box) return false;
    switch (box.status) {
      case "running":
        if (box.run !== this.#run) this.#ranFromMs = undefined;
        this.#run = box.run;
        this.#ranFromMs ??= this.#clock.now();
        await this.#attend(box, { fromMs: this.#ranFromMs, signal });
        return true;
      case "starting":
      case "pausing":
      case "stopping":
        await this.#clock.sleep(LOOK_MS, signal);
        return true;
      case "paused":
        await this.#clock.sleep(PAUSED_LOOK_MS, signal);
        return true;
      default:
        return await this.#afterEnd(box, signal);
    }
  }

  /** What comes after the box's end. */
  async #afterEnd(box: KeptBox, signal: AbortSignal): Promise<boolean> {
    if (!box.kept) return false;
    const ranMs = this.#ranFromMs === undefined ? 0 : this.#clock.now() - this.#ranFromMs;
    const row = ranMs >= GOOD_RUN_MS ? 0 : box.row;
    const decision = decideRestart(box.policy, box, row);
    if (!decision.restart) {
      this.#port.giveUp(decision.reason);
      return false;
    }
    if (!await this.#waitFor(decision.delayMs, box, signal)) return true;
    this.#ranFromMs = undefined;
    try {
      await this.#port.restart(row + 1, signal);
    } catch (error) {
      this.#port.log(`restarting the box: ${errorText(error)}`);
    }
    return true;
  }

  /** Waits before a restart; false when somebody did something to the box meanwhile. */
  async #waitFor(ms: number, before: KeptBox, signal: AbortSignal): Promise<boolean> {
    const until = this.#clock.now() + ms;
    for (let left = ms; left > 0; left = until - this.#clock.now()) {
      await this.#clock.sleep(Math.min(left, LOOK_MS), signal);
      if (signal.aborted) return false;
      const now = await this.#port.look();
      if (now?.revision !== before.revision || !now.kept) return false;
    }
    return true;
  }

  /** Checks a box that runs, until its connection ends. */
  async #attend(
    box: KeptBox,
    { fromMs, signal }: { readonly fromMs: number; readonly signal: AbortSignal },
  ): Promise<void> {
    const lost = new AbortController();
    try {
      await using guest = await this.#port.connect(signal);
      void guest.closed.then(() => lost.abort());
      const over = AbortSignal.any([signal, lost.signal]);
      if (box.check) await this.#checkOn(box, { guest, check: box.check, fromMs, signal: over });
      else await aborted(over);
    } catch (error) {
      if (!signal.aborted) this.#port.log(`reaching the box: ${errorText(error)}`);
    }
    // It may take a moment to be gone after its connection is.
    await this.#clock.sleep(LOOK_MS, signal);
  }

  async #checkOn(
    box: KeptBox,
    { guest, check, fromMs, signal }: {
      readonly guest: KeptGuest;
      readonly check: Required<HealthCheck>;
      readonly fromMs: number;
      readonly signal: AbortSignal;
    },
  ): Promise<void> {
    const startEndsMs = fromMs + check.startPeriodMs;
    const watch = new HealthWatch(check, { health: box.health, startEndsMs });
    while (!signal.aborted) {
      const before = await this.#port.look();
      if (before?.status === "running") {
        const result = await guest.check(check, signal);
        if (signal.aborted) return;
        const after = result.ok ? before : await this.#port.look();
        // A box that was paused or is being stopped can't answer, and isn't ill for that.
        if (after?.revision === before.revision) {
          const change = watch.saw(result, this.#clock.now());
          if (change) this.#port.healthChanged(change);
        }
      } else if (!before || (before.status !== "paused" && before.status !== "pausing")) {
        return;
      }
      await this.#clock.sleep(check.intervalMs, signal);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
