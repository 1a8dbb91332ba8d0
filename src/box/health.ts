/**
 * What a box's checks add up to. Pure: it is told results and times, and says what changed.
 *
 * @module
 */
import type { HealthCheck, HealthStatus } from "./options.ts";

/** What one check found. */
export type CheckResult =
  | { readonly ok: true }
  /** `message`: what was wrong, with the end of what the command said. */
  | { readonly ok: false; readonly message: string };

/** A change of a box's health. */
export interface HealthChange {
  readonly health: HealthStatus;
  /** Failures in a row. */
  readonly failures: number;
  /** The last failure's message; empty when all is well. */
  readonly message: string;
}

/** What a {@link HealthWatch} goes on from. Times are on any one clock, in `ms`. */
export interface HealthBegin {
  readonly health: HealthStatus;
  /** Failures before this don't count while the box is `starting`. */
  readonly startEndsMs: number;
}

/**
 * The health of a box from check to check. It is `starting` until a check succeeds (`healthy` at
 * once, and the start period is over) or `retries` in a row fail after the start period
 * (`unhealthy`). One success makes an unhealthy box healthy again.
 */
export class HealthWatch {
  readonly #retries: number;
  readonly #startEndsMs: number;
  #health: HealthStatus;
  #failures = 0;

  /** Goes on from what is known. */
  constructor({ retries }: Pick<Required<HealthCheck>, "retries">, begin: HealthBegin) {
    this.#retries = retries;
    this.#startEndsMs = begin.startEndsMs;
    this.#health = begin.health === "none" ? "starting" : begin.health;
  }

  /** Takes a result; gives what changed by it, if anything did. */
  saw(result: CheckResult, nowMs: number): HealthChange | undefined {
    if (result.ok) {
      this.#failures = 0;
      return this.#become("healthy", "");
    }
    if (this.#health === "starting" && nowMs < this.#startEndsMs) return undefined;
    this.#failures++;
    return this.#failures < this.#retries ? undefined : this.#become("unhealthy", result.message);
  }

  #become(health: HealthStatus, message: string): HealthChange | undefined {
    if (this.#health === health) return undefined;
    this.#health = health;
    return { health, failures: this.#failures, message };
  }
}
