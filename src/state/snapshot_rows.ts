/**
 * Snapshots as they are recorded: JSON that was written by hutch, and may have been damaged since.
 *
 * @module
 */
import { errorText, HutchError } from "../errors.ts";

/**
 * How much a snapshot's disk can be trusted: `stopped`: the box didn't run. `filesystem`: its file
 * systems stood still. `crash`: as if its power had been cut.
 */
export type Consistency = "stopped" | "filesystem" | "crash";

/** A snapshot as it is recorded; plain JSON. */
export interface SnapshotRecord {
  /** 12 lower-case hexadecimal digits. */
  readonly id: string;
  /** Id of its box. */
  readonly box: string;
  /** Unique among the box's snapshots. */
  readonly name: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /** Labels by their keys. */
  readonly labels: Readonly<Record<string, string>>;
  /** Id of the backing disk that it is; null for the image's disk. */
  readonly backing: string | null;
  /** How much its disk can be trusted. */
  readonly consistency: Consistency;
  /** The size of the disk as the guest saw it, in `MiB`. */
  readonly diskMiB: number;
  /** Whether the box's memory was kept too. */
  readonly memory: boolean;
}

const CONSISTENCIES: readonly unknown[] = [
  "stopped",
  "filesystem",
  "crash",
] satisfies Consistency[];
/** What older records lack. */
const LATER = { memory: false } as const;
const ID = /^[0-9a-f]{12}$/;

/** Whether a text is an id of ours. */
export function isId(text: unknown): text is string {
  return typeof text === "string" && ID.test(text);
}

/**
 * Reads a record, as it is in the table and in the box's folder.
 *
 * @throws Error that says what is wrong with it.
 */
export function parseSnapshotRecord(text: string): SnapshotRecord {
  const read: unknown = JSON.parse(text);
  const value = isFields(read) ? { ...LATER, ...read } : read;
  if (isRecord(value)) return value;
  throw new HutchError("state_corrupt", "it isn't the record of a snapshot");
}

/**
 * A row of the table.
 *
 * @throws HutchError `state_corrupt`.
 */
export function parseSnapshot(row: Readonly<Record<string, unknown>>): SnapshotRecord {
  try {
    const record = parseSnapshotRecord(String(row.record));
    const { box, name, backing } = record;
    if (box === row.box_id && name === row.name && backing === row.backing) return record;
    throw new HutchError("state_corrupt", "it is another one's");
  } catch (error) {
    throw new HutchError(
      "state_corrupt",
      `Cannot read the record of snapshot ${JSON.stringify(row.name)}: ${errorText(error)}`,
      { cause: error, hint: "hutch doctor --repair restores it from its box's folder" },
    );
  }
}

function isRecord(value: unknown): value is SnapshotRecord {
  if (!isFields(value)) return false;
  const { id, box, name, createdAt, labels, backing, consistency, diskMiB, memory } = value;
  return isId(id) && isId(box) && typeof name === "string" && typeof createdAt === "string" &&
    isFields(labels) && Object.values(labels).every((each) => typeof each === "string") &&
    (backing === null || isId(backing)) && CONSISTENCIES.includes(consistency) &&
    typeof diskMiB === "number" && typeof memory === "boolean";
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
