/**
 * The events of a home as an async iterable: past ones from the table, then live ones of all
 * programs that share it.
 *
 * @module
 */
import type { DatabaseSync } from "node:sqlite";
import { LONGEST_TIMER_MS } from "../box/times.ts";
import { HutchError } from "../errors.ts";
import type { Events } from "../plugin/contract.ts";
import {
  type EventFilter,
  type EventRetention,
  EventTable,
  type RecordedEvent,
} from "../state/events.ts";

/**
 * How often a reader that waits asks whether another program wrote something, in `ms`. The question
 * (`PRAGMA data_version`) reads a number from shared memory, about 10 µs, and is put only while
 * somebody waits. Watching the WAL file would wake us for every write of any table, several times a
 * transaction, and doesn't work on every file system. Events of this program need no question.
 */
const POLL_MS = 50;
/** Other programs may write an event so much later than it happened, in `ms`. */
const GRACE_MS = 100;
const KEEP = 10_000;
const MAX_AGE_MS = 30 * 24 * 3_600_000;
/** A hundred years: times before it can be written as dates. */
const LONGEST_AGE_MS = 100 * 365 * 24 * 3_600_000;

/** Options of `Runtime.events`. */
export interface EventsOptions {
  /** Ends the iteration, without an error. */
  readonly signal?: AbortSignal;
  /**
   * Past events first: those after this sequence number, or from this time on. The first event of
   * that time counts, and all that were recorded after it.
   *
   * @default {none}
   */
  readonly since?: number | Date;
  /** Events up to this time; the iteration ends when it has passed. @default {forever} */
  readonly until?: Date;
  /** Whether to go on with live events after the past ones. @default {true} */
  readonly follow?: boolean;
  /** Only these types. @default {all} */
  readonly types?: readonly (keyof Events)[];
  /** Only events about the box with this id or name, or the beginning of the id of one that is there. */
  readonly box?: string;
}

/**
 * In place of events that were removed before they could be read: whoever iterates is slower than
 * retention, or `since` names an event from before all that is kept.
 */
export interface EventGap {
  /** Tells it from events. */
  readonly type: "events.gap";
  /** When that was noticed, ISO 8601. */
  readonly at: string;
  /** Number of the last event that is missing. */
  readonly seq: number;
  /** How many are missing, of whatever type. */
  readonly missed: number;
}

/** What an iteration gives. */
type Item = RecordedEvent | EventGap;

/** What {@link EventFeed} works with. */
export interface EventFeedOptions {
  /** The runtime's connection; read from, never written to. */
  readonly database: DatabaseSync;
  /** Writes what this program has emitted and that waits to be written, if that is possible. */
  readonly flush: () => void;
  /** Finds the id of a box by its name or the beginning of its id; throws `box_not_found`. */
  readonly find: (box: string) => string;
}

/** Gives readers their events. */
export class EventFeed implements Disposable {
  readonly #options: EventFeedOptions;
  readonly #table: EventTable;
  readonly #readers = new Set<Reader>();
  readonly #waiting = new Set<() => void>();
  #poll: ReturnType<typeof setTimeout> | undefined;
  #version: unknown;
  #closed = false;

  /** Reads nothing before it is asked. */
  constructor(options: EventFeedOptions) {
    this.#options = options;
    this.#table = new EventTable(options.database);
  }

  /** Readers look again: this program has written something. */
  wake(): void {
    for (const resolve of [...this.#waiting]) resolve();
  }

  /**
   * Events in the order in which they were recorded, none twice. What happened before the call is
   * past, what comes after it is live, whenever the first one is asked for. However slow the caller
   * is, one page of events is held.
   */
  events(options: EventsOptions = {}): AsyncGenerator<Item, void> {
    const { box, since, until, types } = checked(options);
    this.#options.flush();
    const head = this.#table.head();
    const after = since instanceof Date
      ? this.#table.firstSince(since.toISOString()) - 1
      : Math.min(since ?? head, head);
    const reader = new Reader(this.#table, after, {
      types,
      box: box === undefined ? undefined : this.#namesOf(box),
      until: until?.toISOString(),
    });
    if (this.#closed) reader.finish();
    this.#readers.add(reader);
    return this.#iterate(reader, options);
  }

  /** Ends all iterations after a page more; what is beyond it is told as a gap. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const reader of this.#readers) reader.finish();
    this.wake();
  }

  /** A box as events may name it; one that is gone, or not there yet, by that very word. */
  #namesOf(box: string): readonly string[] {
    try {
      return [box, this.#options.find(box)];
    } catch (error) {
      if (error instanceof HutchError && error.code === "box_not_found") return [box];
      throw error;
    }
  }

  async *#iterate(
    reader: Reader,
    { signal, until, follow = true }: EventsOptions,
  ): AsyncGenerator<Item, void> {
    try {
      while (!signal?.aborted) {
        const leftMs = until === undefined ? Infinity : until.getTime() + GRACE_MS - Date.now();
        const { items, more } = reader.next();
        for (const item of items) {
          if (signal?.aborted) return;
          yield item;
        }
        if (more) continue;
        if (reader.finished || !follow) return;
        if (items.length > 0) continue; // while the caller had them, more may have come
        if (leftMs <= 0) return;
        await this.#change(leftMs, signal);
      }
    } finally {
      this.#readers.delete(reader);
    }
  }

  /** Resolves when something may have been written, the time is over, or `signal` says so. */
  #change(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#waiting.delete(done);
        if (this.#waiting.size === 0) this.#stopAsking();
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = ms === Infinity ? undefined : setTimeout(done, Math.min(ms, LONGEST_TIMER_MS));
      this.#waiting.add(done);
      signal?.addEventListener("abort", done);
      this.#poll ??= setTimeout(() => this.#ask(), POLL_MS);
    });
  }

  #stopAsking(): void {
    clearTimeout(this.#poll);
    this.#poll = undefined;
  }

  /** Asks whether another connection has written something; again and again while somebody waits. */
  #ask(): void {
    const version = this.#dataVersion();
    if (version === this.#version) {
      this.#poll = setTimeout(() => this.#ask(), POLL_MS);
      return;
    }
    // It is remembered before they look: what is written while they do changes it again.
    this.#version = version;
    this.wake();
  }

  #dataVersion(): unknown {
    try {
      return this.#options.database.prepare("PRAGMA data_version").get()?.data_version;
    } catch (error) {
      return error; // a new one each time: readers look, and meet it themselves
    }
  }
}

/** Where one iteration is. */
class Reader {
  readonly #table: EventTable;
  readonly #filter: EventFilter;
  #after: number;
  /** What is left to give when the table can't be read any more. */
  #rest: Item[] | undefined;

  constructor(table: EventTable, after: number, filter: EventFilter) {
    this.#table = table;
    this.#after = after;
    this.#filter = filter;
  }

  /** Whether {@link Reader.next} gives nothing more. */
  get finished(): boolean {
    return this.#rest?.length === 0;
  }

  /** What follows, and whether there is more already. */
  next(): { readonly items: readonly Item[]; readonly more: boolean } {
    const rest = this.#rest;
    if (!rest) return this.#page();
    this.#rest = [];
    return { items: rest, more: false };
  }

  /** Reads a last page now. */
  finish(): void {
    if (this.#rest) return;
    try {
      const { items, more } = this.#page();
      this.#rest = items;
      const left = this.#table.head() - this.#after;
      if (more) this.#rest.push(gapOf(left, this.#after + left));
    } catch {
      this.#rest = []; // a home that was lost has nothing to tell
    }
  }

  #page(): { items: Item[]; more: boolean } {
    const { events, missed, upTo, more } = this.#table.page(this.#after, this.#filter);
    const items: Item[] = missed > 0 ? [gapOf(missed, this.#after + missed)] : [];
    this.#after = upTo;
    return { items: items.concat(events), more };
  }
}

function gapOf(missed: number, seq: number): EventGap {
  return { type: "events.gap", at: new Date().toISOString(), seq, missed };
}

function checked(options: EventsOptions): EventsOptions {
  const { since, until } = options;
  for (const [name, value] of Object.entries({ since, until })) {
    const number = value instanceof Date ? value.getTime() : value ?? 0;
    if (Number.isFinite(number) && (value instanceof Date || number >= 0)) continue;
    throw new HutchError(
      "invalid_option",
      `Cannot read events: ${name} is neither a time nor an event's number`,
    );
  }
  return options;
}

/** What of retention was asked for, with the defaults; throws `invalid_option`. */
export function retentionOf(
  { keep = KEEP, maxAgeMs = MAX_AGE_MS }: EventRetention = {},
): Required<EventRetention> {
  if (!Number.isSafeInteger(keep) || keep < 1) {
    throw new HutchError(
      "invalid_option",
      `Cannot keep ${keep} events: it is not a whole number from 1 on`,
    );
  }
  if (!(maxAgeMs > 0)) {
    throw new HutchError(
      "invalid_option",
      `Cannot keep events for ${maxAgeMs} ms: it is not a positive number`,
    );
  }
  return { keep, maxAgeMs: Math.min(maxAgeMs, LONGEST_AGE_MS) };
}
