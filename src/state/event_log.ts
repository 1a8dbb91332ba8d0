/**
 * Keeps events and counters in state, apart from whoever emits: in batches, each one short
 * transaction. What can't be written is tried again later; a full disk or a busy database neither
 * breaks nor delays a box.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { errorText } from "../errors.ts";
import type { Counters } from "./counters.ts";
import { openDatabase, transaction } from "./database.ts";
import { type AnyEvent, type EventRetention, EventTable } from "./events.ts";

/** The longest that an event waits for others to be written with, in `ms`, where writing is quick. */
const BATCH_MS = 20;
/** Where it isn't, it gets one of so many parts of the time, as long as nobody waits this long for it, in `ms`. */
const [PARTS, SLOW_BATCH_MS] = [10, 250];
/** Most events in one transaction. */
const BATCH = 200;
/** Events that may wait while they can't be written; the oldest go first. */
const MOST_WAITING = 10_000;
/** Longest pause between two tries, in `ms`. */
const LONGEST_PAUSE_MS = 5_000;
/** So many tries in a row may find the database busy before that is told. */
const PATIENT_TRIES = 6;
/** How long closing waits for a busy database, in `ms`. */
const CLOSING_MS = 1_000;
/** The same where nothing can be awaited any more: the program is ending. */
const ENDING_MS = 200;

/** Options of {@link EventLog}. */
export interface EventLogOptions {
  /** The database's path: the log has a connection of its own, which never waits for a lock. */
  readonly path: string;
  readonly counters: Counters;
  readonly retention: Required<EventRetention>;
  /** Hears what goes wrong. */
  readonly log: (line: string) => void;
  /** Events were given up; called when writing works again. */
  readonly dropped: (count: number, reason: string) => void;
  /** Something was written: readers may look. */
  readonly written: () => void;
}

/** Writes events. Nothing here throws. */
export class EventLog implements AsyncDisposable {
  readonly #options: EventLogOptions;
  readonly #onUnload = () => this.#flushAtEnd();
  #waiting: AnyEvent[] = [];
  #database: DatabaseSync | undefined;
  #table: EventTable | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How long the last batch took to write, in `ms`. */
  #tookMs = 0;
  #failures = 0;
  #reason = "";
  #dropped = 0;
  #busy = false;
  #listening = false;
  #closed = false;

  /** Opens nothing before there is an event. */
  constructor(options: EventLogOptions) {
    this.#options = options;
  }

  /** Takes an event, to be written soon. */
  record(event: AnyEvent): void {
    if (this.#closed) return;
    // Also when the program ends without closing its runtime.
    if (!this.#listening) addEventListener("unload", this.#onUnload);
    this.#listening = true;
    this.#options.counters.count(event);
    if (this.#waiting.push(event) > MOST_WAITING) {
      this.#waiting.shift();
      this.#dropped++;
    }
    this.#schedule();
  }

  /** Writes what waits now, if that is possible at once; whether nothing waits any more. */
  flush(): boolean {
    while (this.#pending && this.#write());
    this.#schedule();
    return !this.#pending;
  }

  /** Writes what waits; what can't be written within a second is lost, which is told. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    const from = performance.now();
    while (this.#pending) {
      if (this.#write()) continue;
      if (!this.#busy || performance.now() - from > CLOSING_MS) break;
      await new Promise((resolve) => setTimeout(resolve, BATCH_MS));
    }
    const lost = this.#waiting.length + this.#dropped;
    if (lost > 0) this.#options.log(`${lost} events could not be kept: ${this.#reason}`);
    removeEventListener("unload", this.#onUnload);
    this.#database?.close();
    this.#database = undefined;
  }

  get #pending(): boolean {
    return this.#waiting.length > 0 || this.#options.counters.waiting;
  }

  #schedule(): void {
    if (!this.#pending || this.#closed) return;
    const failing = this.#failures > 0;
    const full = this.#waiting.length >= BATCH && !failing;
    if (this.#timer !== undefined && !full) return;
    clearTimeout(this.#timer);
    const batchMs = Math.max(BATCH_MS, Math.min(this.#tookMs * PARTS, SLOW_BATCH_MS));
    const pause = batchMs * 2 ** this.#failures;
    const ms = full ? 0 : Math.min(pause, LONGEST_PAUSE_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#write();
      this.#schedule();
    }, ms);
    // A database that stays locked doesn't keep the program alive.
    if (this.#failures > PATIENT_TRIES) Deno.unrefTimer(this.#timer);
  }

  /** Writes one batch; whether that went well. */
  #write(): boolean {
    const { counters, retention } = this.#options;
    const batch = this.#waiting.slice(0, BATCH);
    const from = performance.now();
    try {
      const database = this.#open();
      const table = this.#table ??= new EventTable(database);
      transaction(database, () => {
        table.add(batch);
        table.trim(retention);
        counters.write(database);
      });
    } catch (error) {
      this.#failed(error);
      return false;
    }
    counters.written();
    this.#waiting.splice(0, batch.length);
    this.#tookMs = performance.now() - from;
    if (this.#failures > 0) this.#recovered();
    this.#options.written();
    return true;
  }

  #open(): DatabaseSync {
    if (this.#database) return this.#database;
    return this.#database = openDatabase(this.#options.path, { busyTimeoutMs: 0 });
  }

  #failed(error: unknown): void {
    this.#reason = errorText(error);
    this.#failures++;
    this.#busy = /database is locked/.test(this.#reason);
    if (this.#failures === (this.#busy ? PATIENT_TRIES : 1)) {
      this.#options.log(`events can't be kept for now: ${this.#reason}`);
    }
  }

  #recovered(): void {
    this.#failures = 0;
    const dropped = this.#dropped;
    if (dropped === 0) return;
    this.#dropped = 0;
    this.#options.log(`${dropped} events were not kept: ${this.#reason}`);
    this.#options.dropped(dropped, this.#reason);
  }

  #flushAtEnd(): void {
    if (!this.#pending) return;
    try {
      this.#open().exec(`PRAGMA busy_timeout = ${ENDING_MS}`);
    } catch {
      return;
    }
    while (this.#pending && this.#write());
  }
}
