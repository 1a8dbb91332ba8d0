/**
 * Lists of boxes, as programs ask for them.
 *
 * @module
 */
import type { BoxInfo, BoxStatus } from "../box/options.ts";
import { HutchError } from "../errors.ts";
import { type BoxFilter, type BoxSort, SORTS, STATUSES } from "../state/box_list.ts";
import type { DamagedBox } from "../state/box_rows.ts";
import { ACTIVE } from "../state/boxes.ts";
import { nearest } from "../suggest.ts";

export type { BoxSort, DamagedBox };

/** Longest pattern for names, in characters; names have 63. */
const MAX_PATTERN = 256;

/** Options of {@link Runtime.list}. */
export interface ListOptions {
  /** Boxes in every state, where `status` names none. @default {false: those that run or are on the way} */
  readonly all?: boolean;
  /** Only boxes in one of these states. */
  readonly status?: BoxStatus | readonly BoxStatus[];
  /** Only boxes that have all these labels; `true` stands for any value. */
  readonly labels?: Readonly<Record<string, string | true>>;
  /** Only names with this text in them, or that fit it as a pattern, if it has `*`, `?` or `[`. */
  readonly name?: string;
  /** What to sort by; boxes that were never started are the first by `started`. @default {"created"} */
  readonly sort?: BoxSort;
  /** The other way round. @default {false} */
  readonly reverse?: boolean;
  /** At most so many boxes. @default {all} */
  readonly limit?: number;
  /**
   * The last box of the page before, for the next one. Boxes that came or went meanwhile move no
   * other from one page to the next.
   */
  readonly after?: BoxInfo;
  /**
   * Hears of boxes whose records can't be read, and which the list leaves out. With it all of each record is
   * read at once; without it a configuration that only looks whole throws `state_corrupt` when it is asked
   * for. @default {the log}
   */
  readonly onDamaged?: (box: DamagedBox) => void;
}

/**
 * The filter that the options ask for.
 *
 * @throws HutchError `invalid_option`.
 */
export function filterOf(options: ListOptions): BoxFilter {
  const { all, labels, name, sort, reverse, limit, after } = options;
  const statuses = typeof options.status === "string" ? [options.status] : options.status;
  for (const status of statuses ?? []) refuseOther("state", status, STATUSES);
  if (sort !== undefined) refuseOther("order", sort, SORTS);
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
    refuse(`Cannot list ${limit} boxes: it is not a whole number from 1`);
  }
  if (name !== undefined && (name === "" || name.length > MAX_PATTERN)) {
    refuse(`Cannot list boxes by a name of ${name.length} characters: it has 1 to ${MAX_PATTERN}`);
  }
  const active = all === true ? undefined : ACTIVE;
  const wanted = statuses ?? active;
  return {
    ...wanted ? { statuses: wanted } : {},
    ...labels ? { labels } : {},
    ...name === undefined ? {} : { name },
    ...sort === undefined ? {} : { sort },
    ...reverse === undefined ? {} : { reverse },
    ...limit === undefined ? {} : { limit },
    ...after ? { after: { ...after, createdAt: after.config.createdAt } } : {},
  };
}

/** Whether all boxes are asked for. */
export function isEverything({ all, status, labels, name, limit, after }: ListOptions): boolean {
  const some = [status, labels, name, limit, after].some((given) => given !== undefined);
  return all === true && !some;
}

function refuseOther(what: string, given: string, known: readonly string[]): void {
  if (known.includes(given)) return;
  const near = nearest(given, known);
  refuse(
    `Cannot list boxes: ${JSON.stringify(given)} is not a box's ${what}`,
    near === undefined ? `take one of ${known.join(", ")}` : `did you mean ${near}?`,
  );
}

function refuse(message: string, hint?: string): never {
  throw new HutchError("invalid_option", message, hint === undefined ? {} : { hint });
}
