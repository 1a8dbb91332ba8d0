/**
 * Lists of boxes as SQL: filtered, sorted and cut to a page by indexes.
 *
 * @module
 */
import type { BoxStatus } from "../box/options.ts";

/** What lists can be sorted by. */
export type BoxSort = "created" | "name" | "status" | "started";

/** All of them. */
export const SORTS: readonly BoxSort[] = ["created", "name", "status", "started"];
/** All states. */
export const STATUSES: readonly BoxStatus[] = [
  "configured",
  "starting",
  "running",
  "pausing",
  "paused",
  "stopping",
  "stopped",
  "failed",
  "crashed",
];

/** Which boxes a list has, and in which order. */
export interface BoxFilter {
  /** Only these states; none at all with an empty list. */
  readonly statuses?: readonly BoxStatus[];
  /** Only boxes that have all these labels, with this value; `true` for any value. */
  readonly labels?: Readonly<Record<string, string | true>>;
  /** Only names with this text in them, or that fit it as a pattern, if it has `*`, `?` or `[`. */
  readonly name?: string;
  /** @default {"created"} */
  readonly sort?: BoxSort;
  /** @default {false} */
  readonly reverse?: boolean;
  /** At most so many. @default {all} */
  readonly limit?: number;
  /** Only what comes after a box with these values. */
  readonly after?: BoxPlace;
}

/** What tells a box's place in every order. */
export interface BoxPlace {
  readonly id: string;
  readonly name: string;
  readonly createdAt: string;
  readonly status: BoxStatus;
  readonly startedAt: string | null;
}

/** A query and its parameters. */
export interface Query {
  readonly sql: string;
  readonly values: readonly (string | number)[];
}

/** Columns that each order goes by, all of them in one index; the last one tells boxes apart. */
const ORDERS: Readonly<Record<BoxSort, readonly string[]>> = {
  created: ["b.created_at", "b.id"],
  name: ["b.name"],
  status: ["s.status", "s.box_id"],
  started: ["s.started_at", "s.box_id"],
};

/** Columns of a box, for `parseRow`. */
export const COLUMNS = "b.id, b.name, b.config, s.status, s.revision, s.pid, s.boot_id, s.document";

/** The query of a list. */
export function listQuery(filter: BoxFilter): Query {
  const { sort = "created", reverse = false, limit, after } = filter;
  const conditions: string[] = [];
  const values: (string | number)[] = [];
  const add = (condition: string, ...parameters: (string | number)[]) => {
    conditions.push(condition);
    values.push(...parameters);
  };
  if (filter.statuses) {
    add(`s.status IN (${filter.statuses.map(() => "?").join(", ")})`, ...filter.statuses);
  }
  for (const [key, value] of Object.entries(filter.labels ?? {})) {
    const found = "b.id IN (SELECT box_id FROM box_labels WHERE key = ?";
    if (value === true) add(`${found})`, key);
    else add(`${found} AND value = ?)`, key, value);
  }
  if (filter.name !== undefined) addName(filter.name, add);
  const columns = ORDERS[sort];
  if (after) {
    const marks = columns.map(() => "?").join(", ");
    add(`(${columns.join(", ")}) ${reverse ? "<" : ">"} (${marks})`, ...placeIn(sort, after));
  }
  const direction = reverse ? " DESC" : "";
  const order = columns.map((column) => column + direction).join(", ");
  const where = conditions.length > 0 ? ` WHERE ${conditions.join(" AND ")}` : "";
  if (limit !== undefined) values.push(limit);
  return {
    sql: `SELECT ${COLUMNS} FROM boxes b JOIN box_states s ON s.box_id = b.id${where}
      ORDER BY ${order}${limit === undefined ? "" : " LIMIT ?"}`,
    values,
  };
}

function addName(name: string, add: (condition: string, ...values: string[]) => void): void {
  const special = name.search(/[*?[]/);
  if (special < 0) {
    // Through the index of names: not the rows, which are long.
    add("b.id IN (SELECT id FROM boxes WHERE name > '' AND instr(name, ?) > 0)", name);
    return;
  }
  const prefix = name.slice(0, special);
  if (prefix === "") add("b.id IN (SELECT id FROM boxes WHERE name > '' AND name GLOB ?)", name);
  // Names are ASCII: what begins with the prefix comes before the prefix with DEL.
  else add("b.name >= ? AND b.name < ? AND b.name GLOB ?", prefix, `${prefix}\x7f`, name);
}

function placeIn(sort: BoxSort, place: BoxPlace): string[] {
  switch (sort) {
    case "created":
      return [place.createdAt, place.id];
    case "name":
      return [place.name];
    case "status":
      return [place.status, place.id];
    case "started":
      return [place.startedAt ?? "", place.id];
  }
}
