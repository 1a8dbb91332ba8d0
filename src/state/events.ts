/**
 * The table of events: what happened, by a number that only ever grows.
 *
 * Programs that share a home write in turns, so the numbers are in the order of commits and have no
 * holes: whoever has read up to a number misses nothing by going on from there. What retention
 * removes, it removes from the beginning.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { errorText, HutchError } from "../errors.ts";
import type { Events, HutchEvent } from "../plugin/contract.ts";
import { translated } from "./database.ts";

/** What all events have; the rest is told apart by what is in them. */
export interface AnyEvent {
  readonly type: keyof Events;
  /** ISO 8601. */
  readonly at: string;
}

/** An event as it is kept. */
export type RecordedEvent = HutchEvent & {
  /** Its number among all events of the home; later ones have higher numbers. */
  readonly seq: number;
};

/** How much is kept. */
export interface EventRetention {
  /** So many events at most, the newest. @default {10000} */
  readonly keep?: number;
  /** None that are older, in `ms`. @default {30 days} */
  readonly maxAgeMs?: number;
}

/** Which events are wanted. */
export interface EventFilter {
  /** Only these types. */
  readonly types?: readonly (keyof Events)[] | undefined;
  /** Only those about the box with this id or this name. */
  readonly box?: readonly string[] | undefined;
  /** Only those that happened by then, ISO 8601. */
  readonly until?: string | undefined;
}

/** Some events, in order, and how far they reach. */
export interface EventPage {
  readonly events: readonly RecordedEvent[];
  /** All numbers up to here were looked at. */
  readonly upTo: number;
  /** Whether there were more numbers when it was read. */
  readonly more: boolean;
  /** Events that came after the one asked for and that retention has removed already. */
  readonly missed: number;
}

/** Numbers that one page looks at. */
const PAGE = 200;
/** A document that is longer is shortened, in characters. */
const LONGEST = 8 * 1024;
/** Texts and lists in a document that is too long are cut to so many characters and elements. */
const [TEXT, LIST] = [256, 16];

/** The table of events. Nothing is cached: other programs share it. */
export class EventTable {
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();

  /** Uses an open database. */
  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Adds events in their order; within the caller's transaction. */
  add(events: readonly AnyEvent[]): void {
    const insert = this.#prepare(
      "INSERT INTO events (at, type, box_id, box_name, document) VALUES (?, ?, ?, ?, ?)",
    );
    for (const event of events) {
      const { id, name } = boxOf(event);
      insert.run(event.at, event.type, id, name, documentOf(event));
    }
  }

  /** Removes what need not be kept any more; within the caller's transaction. */
  trim({ keep, maxAgeMs }: Required<EventRetention>): void {
    const head = this.head();
    this.#prepare("DELETE FROM events WHERE seq <= ?").run(head - keep);
    const cutoff = new Date(Date.now() - maxAgeMs).toISOString();
    const oldest = this.#prepare("SELECT at FROM events ORDER BY seq LIMIT 1").get()?.at;
    if (typeof oldest !== "string" || oldest >= cutoff) return; // the usual case reads one row
    // From the beginning only, also when the clock was set back: there are never holes.
    this.#prepare("DELETE FROM events WHERE seq < ?").run(this.firstSince(cutoff));
  }

  /** The highest number given so far. */
  head(): number {
    const row = this.#get("SELECT seq FROM sqlite_sequence WHERE name = 'events'");
    return Number(row?.seq ?? 0);
  }

  /** The number of the first event of this time (ISO 8601) or later, or the one after the last. */
  firstSince(at: string): number {
    const row = this.#get("SELECT seq FROM events WHERE at >= ? ORDER BY seq LIMIT 1", at);
    return Number(row?.seq ?? this.head() + 1);
  }

  /** How many events are kept, and how many of them are left to be found. */
  span(): { readonly first: number; readonly last: number } {
    const row = this.#get("SELECT min(seq) AS first FROM events");
    const last = this.head();
    return { first: Number(row?.first ?? last + 1), last };
  }

  /** Reads what follows a number. */
  page(after: number, filter: EventFilter = {}): EventPage {
    // One view of the table, or an event could be removed between two looks.
    return this.#snapshot(() => {
      const { first, last } = this.span();
      const from = Math.max(after, first - 1);
      const upTo = Math.max(after, Math.min(from + PAGE, last));
      const { where, values } = conditionsOf(filter);
      const events = translated(this.#database, () =>
        this.#prepare(
          `SELECT seq, at, type, document FROM events
           WHERE seq > ? AND seq <= ?${where} ORDER BY seq`,
        ).all(from, upTo, ...values)).map(eventOf);
      return { events, upTo, more: upTo < last, missed: from - after };
    });
  }

  #snapshot<T>(body: () => T): T {
    translated(this.#database, () => this.#database.exec("BEGIN"));
    try {
      return body();
    } finally {
      this.#database.exec("COMMIT");
    }
  }

  #get(sql: string, ...values: readonly string[]): Record<string, unknown> | undefined {
    return translated(this.#database, () => this.#prepare(sql).get(...values));
  }

  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = translated(this.#database, () => this.#database.prepare(sql));
    this.#statements.set(sql, statement);
    return statement;
  }
}

function conditionsOf({ types, box, until }: EventFilter): { where: string; values: string[] } {
  const marks = (values: readonly string[]) => values.map(() => "?").join(", ");
  let where = "";
  const values: string[] = [];
  if (types) {
    where += ` AND type IN (${marks(types)})`;
    values.push(...types);
  }
  if (box) {
    where += ` AND (box_id IN (${marks(box)}) OR box_name IN (${marks(box)}))`;
    values.push(...box, ...box);
  }
  if (until !== undefined) {
    where += " AND at <= ?";
    values.push(until);
  }
  return { where, values };
}

/** The box that an event is about. */
export function boxOf(event: AnyEvent): { id: string | null; name: string | null } {
  return {
    id: "box" in event && typeof event.box === "string" ? event.box : null,
    name: "name" in event && typeof event.name === "string" ? event.name : null,
  };
}

/** The event without what has columns; a command with a book in its arguments is cut short. */
function documentOf({ at: _at, type: _type, ...rest }: AnyEvent): string {
  const text = JSON.stringify(rest);
  if (text.length <= LONGEST) return text;
  return JSON.stringify(rest, (_key, value: unknown) => {
    if (typeof value === "string" && value.length > TEXT) return `${value.slice(0, TEXT)}…`;
    if (Array.isArray(value) && value.length > LIST) return [...value.slice(0, LIST), "…"];
    return value;
  });
}

function eventOf(row: Record<string, unknown>): RecordedEvent {
  try {
    const { seq, at, type } = row;
    return { seq, at, type, ...JSON.parse(String(row.document)) };
  } catch (error) {
    throw new HutchError("state_corrupt", `Cannot read event ${row.seq}: ${errorText(error)}`, {
      cause: error,
      hint: "hutch doctor shows what can be done",
    });
  }
}
