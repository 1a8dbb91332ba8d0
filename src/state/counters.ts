/**
 * What events add up to, for each box and for all of a home. Counters outlive the events that they
 * were made from, and the programs that saw them.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { isProcessAlive } from "../proc.ts";
import { translated } from "./database.ts";
import { type AnyEvent, boxOf } from "./events.ts";

/** How often something happened, and how much of it there was each time. */
export interface Tally {
  readonly count: number;
  /** Sum, least, most and last of the values: times in `ms`, for most events that have any. */
  readonly sum: number;
  readonly least: number | null;
  readonly most: number | null;
  readonly last: number | null;
}

/** Tallies by their names: an event's type, and more where {@link namesOf} tells kinds apart. */
export type Tallies = ReadonlyMap<string, Tally>;

/** Counted, but not in the table yet. */
interface Pending {
  readonly all: Map<string, Tally>;
  readonly boxes: Map<string, Map<string, Tally>>;
  /** By how much the commands of this program that run in a box became more or fewer. */
  readonly running: Map<string, number>;
}

const NONE: Tally = { count: 0, sum: 0, least: null, most: null, last: null };
const ADD = `DO UPDATE SET count = count + excluded.count, sum = sum + excluded.sum,
  least = min(coalesce(least, excluded.least), coalesce(excluded.least, least)),
  most = max(coalesce(most, excluded.most), coalesce(excluded.most, most)),
  last = coalesce(excluded.last, last)`;
const OF_BOX = "WHERE EXISTS (SELECT 1 FROM boxes WHERE id = ?)";

/** The tables of counters, and what one program has counted since it last wrote to them. */
export class Counters {
  readonly #program: string;
  readonly #statements = new Map<string, StatementSync>();
  /** Commands of this program that run. */
  readonly #execs = new Set<unknown>();
  #pending: Pending = nothing();
  #cleaned = false;

  /** @param program Names the program, as `thisProcess` does. */
  constructor(program: string) {
    this.#program = program;
  }

  /** Whether something waits to be written. */
  get waiting(): boolean {
    return this.#pending.all.size > 0;
  }

  /** Counts an event. */
  count(event: AnyEvent): void {
    const value = valueOf(event);
    const { all, boxes } = this.#pending;
    const { id: box } = boxOf(event);
    for (const name of namesOf(event)) {
      add(all, name, value);
      if (box === null) continue;
      const own = boxes.get(box) ?? new Map<string, Tally>();
      boxes.set(box, own);
      add(own, name, value);
    }
    if (box !== null && "execution" in event) this.#countRunning(event.type, box, event.execution);
  }

  /** Adds what waits to the tables, within the caller's transaction; {@link written} forgets it. */
  write(database: DatabaseSync): void {
    const { all, boxes, running } = this.#pending;
    if (!this.#cleaned) this.#removeDead(database);
    const total = this.#prepare(
      database,
      `INSERT INTO counters VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) ${ADD}`,
    );
    for (const [name, tally] of all) total.run(name, ...valuesOf(tally));
    // A box that is gone by now has no counters any more.
    const ofBox = this.#prepare(
      database,
      `INSERT INTO box_counters SELECT ?, ?, ?, ?, ?, ?, ? ${OF_BOX}
       ON CONFLICT (box_id, name) ${ADD}`,
    );
    for (const [box, tallies] of boxes) {
      for (const [name, tally] of tallies) ofBox.run(box, name, ...valuesOf(tally), box);
    }
    for (const [box, step] of running) {
      if (step === 0) continue;
      this.#prepare(
        database,
        `INSERT INTO running_execs SELECT ?, ?, ? ${OF_BOX}
         ON CONFLICT (box_id, program) DO UPDATE SET count = count + excluded.count`,
      ).run(box, this.#program, step, box);
      this.#prepare(
        database,
        "DELETE FROM running_execs WHERE box_id = ? AND program = ? AND count <= 0",
      ).run(box, this.#program);
    }
  }

  /** What waited is in the tables for good. */
  written(): void {
    this.#pending = nothing();
    this.#cleaned = true;
  }

  /** The tallies of a box, or of all of the home: what is in the tables and what waits. */
  read(database: DatabaseSync, box?: string): Tallies {
    const [table, where] = box === undefined
      ? ["counters", ""]
      : ["box_counters", " WHERE box_id = ?"];
    const rows = translated(database, () =>
      database.prepare(
        `SELECT name, count, sum, least, most, last FROM ${table}${where}`,
      ).all(...(box === undefined ? [] : [box])));
    const tallies = new Map<string, Tally>();
    for (const row of rows) tallies.set(String(row.name), tallyOf(row));
    const waiting = box === undefined ? this.#pending.all : this.#pending.boxes.get(box);
    for (const [name, more] of waiting ?? []) {
      tallies.set(name, sumOf(tallies.get(name) ?? NONE, more));
    }
    return tallies;
  }

  /** Commands that run now, in a box or in all: those of programs that live. */
  running(database: DatabaseSync, box?: string): number {
    const where = box === undefined ? "" : " WHERE box_id = ?";
    const rows = translated(database, () =>
      database.prepare(
        `SELECT program, sum(count) AS count FROM running_execs${where} GROUP BY program`,
      ).all(...(box === undefined ? [] : [box])));
    let count = 0;
    for (const row of rows) if (this.#lives(String(row.program))) count += Number(row.count);
    for (const [id, step] of this.#pending.running) {
      if (box === undefined || id === box) count += step;
    }
    return Math.max(count, 0);
  }

  /** By their names: the end of a command that never started makes none fewer. */
  #countRunning(type: string, box: string, execution: unknown): void {
    const { running } = this.#pending;
    const step = type === "exec.started" ? 1 : this.#execs.delete(execution) ? -1 : 0;
    if (step > 0) this.#execs.add(execution);
    if (step !== 0) running.set(box, (running.get(box) ?? 0) + step);
  }

  /** How many boxes there are in each state. */
  statuses(database: DatabaseSync): Readonly<Record<string, number>> {
    const rows = translated(database, () =>
      database.prepare(
        "SELECT status, count(*) AS count FROM box_states GROUP BY status ORDER BY status",
      ).all());
    return Object.fromEntries(rows.map(({ status, count }) => [String(status), Number(count)]));
  }

  /** Programs that were killed left their rows. */
  #removeDead(database: DatabaseSync): void {
    const programs = this.#prepare(database, "SELECT DISTINCT program FROM running_execs").all();
    for (const { program } of programs) {
      if (this.#lives(String(program))) continue;
      this.#prepare(database, "DELETE FROM running_execs WHERE program = ?").run(String(program));
    }
  }

  #lives(program: string): boolean {
    return program === this.#program || isProcessAlive(program);
  }

  #prepare(database: DatabaseSync, sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known) return known;
    const statement = database.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }
}

/** What an event counts as: its type, and where there are kinds of it, the kind. */
function namesOf(event: AnyEvent): readonly string[] {
  const { type } = event;
  if ("stage" in event && type === "stage.finished") return [type, `${type}:${event.stage}`];
  if (type !== "exec.exited") return [type];
  if ("error" in event && event.error !== null) return [type, "exec.exited:error"];
  return "code" in event && event.code === 0 ? [type] : [type, "exec.exited:nonzero"];
}

/** How long it took, in `ms`, or how many it is about. */
function valueOf(event: AnyEvent): number | undefined {
  if ("ms" in event && typeof event.ms === "number") return event.ms;
  return "count" in event && typeof event.count === "number" ? event.count : undefined;
}

function nothing(): Pending {
  return { all: new Map(), boxes: new Map(), running: new Map() };
}

function add(tallies: Map<string, Tally>, name: string, value: number | undefined): void {
  const more = value === undefined
    ? { ...NONE, count: 1 }
    : { count: 1, sum: value, least: value, most: value, last: value };
  tallies.set(name, sumOf(tallies.get(name) ?? NONE, more));
}

function sumOf(a: Tally, b: Tally): Tally {
  const either = (pick: (x: number, y: number) => number, x: number | null, y: number | null) =>
    x === null || y === null ? x ?? y : pick(x, y);
  return {
    count: a.count + b.count,
    sum: a.sum + b.sum,
    least: either(Math.min, a.least, b.least),
    most: either(Math.max, a.most, b.most),
    last: b.last ?? a.last,
  };
}

function valuesOf({ count, sum, least, most, last }: Tally): (number | null)[] {
  return [count, sum, least, most, last];
}

function tallyOf({ count, sum, least, most, last }: Record<string, unknown>): Tally {
  const number = (value: unknown) => typeof value === "number" ? value : null;
  return {
    count: Number(count),
    sum: Number(sum),
    least: number(least),
    most: number(most),
    last: number(last),
  };
}
