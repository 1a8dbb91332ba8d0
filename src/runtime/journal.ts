/**
 * What a runtime remembers of what happened in its home: events and counters.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import type { Events } from "../plugin/contract.ts";
import { thisProcess } from "../proc.ts";
import { Counters, type Tallies } from "../state/counters.ts";
import { EventLog } from "../state/event_log.ts";
import type { AnyEvent, EventRetention, RecordedEvent } from "../state/events.ts";
import { EventFeed, type EventGap, type EventsOptions, retentionOf } from "./events.ts";

/** What a {@link Journal} works with. */
export interface JournalOptions {
  readonly database: DatabaseSync;
  /** The database's path. */
  readonly path: string;
  readonly retention: EventRetention | undefined;
  readonly log: (line: string) => void;
  /** Tells that events were given up. */
  readonly dropped: (event: Events["events.dropped"]) => void;
  /** Finds the id of a box by its name or the beginning of its id; throws `box_not_found`. */
  readonly find: (box: string) => string;
}

/** Events and counters of a home, as one program writes and reads them. */
export class Journal implements AsyncDisposable {
  readonly #database: DatabaseSync;
  readonly #counters = new Counters(thisProcess());
  readonly #log: EventLog;
  readonly #feed: EventFeed;

  /** @throws HutchError `invalid_option` for the retention. */
  constructor(options: JournalOptions) {
    const { database, path, retention, log, dropped, find } = options;
    this.#database = database;
    this.#feed = new EventFeed({ database, flush: () => this.#log.flush(), find });
    this.#log = new EventLog({
      path,
      counters: this.#counters,
      retention: retentionOf(retention),
      log,
      dropped: (count, reason) => dropped({ count, reason }),
      written: () => this.#feed.wake(),
    });
  }

  /** Takes an event; never throws, and writes it a little later. */
  record(event: AnyEvent): void {
    this.#log.record(event);
  }

  /** See `Runtime.events`. */
  events(options?: EventsOptions): AsyncGenerator<RecordedEvent | EventGap, void> {
    return this.#feed.events(options);
  }

  /** What is counted of a box, or of all of the home. */
  tallies(box?: string): Tallies {
    return this.#counters.read(this.#database, box);
  }

  /** Commands that run now, in a box or in all. */
  runningExecs(box?: string): number {
    return this.#counters.running(this.#database, box);
  }

  /** How many boxes there are in each state. */
  statuses(): Readonly<Record<string, number>> {
    return this.#counters.statuses(this.#database);
  }

  /** Writes what waits; then readers get what they can have, and end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#log[Symbol.asyncDispose]();
    this.#feed[Symbol.dispose]();
  }
}
