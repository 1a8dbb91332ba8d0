/**
 * What snapshots and clones are asked with, and what they give.
 *
 * @module
 */
import type { Consistency, SnapshotRecord } from "../state/snapshot_rows.ts";

/** How a box stood still. */
export interface QuiesceReport {
  /** `stopped` when it didn't run, `filesystem` when its file systems stood still, else `crash`. */
  readonly consistency: Consistency;
  /** Why its file systems didn't stand still; null where they did, and for a stopped box. */
  readonly reason: string | null;
  /** How long its file systems took to stand still, in `ms`; the machine ran meanwhile. */
  readonly freezeMs: number;
  /** How long the machine stood still, in `ms`. */
  readonly pausedMs: number;
}

/** Options of {@link Box.quiesce}. */
export interface QuiesceOptions {
  /**
   * `required` refuses to go on when the box's file systems can't be made to stand still: a box that is
   * paused already, say. `best` goes on, and the report says so. @default {"best"}
   */
  readonly consistency?: "best" | "required";
}

/** What {@link Box.quiesce} gives. */
export interface Quiesced<T> extends QuiesceReport {
  /** What the function returned. */
  readonly value: T;
}

/** Options of `box.snapshots.create`. */
export interface SnapshotOptions extends QuiesceOptions {
  /** Free-form pairs for finding it again. @default {{}} */
  readonly labels?: Readonly<Record<string, string>>;
  /**
   * Keeps the memory of the box too, which has to run: `Runtime.create({ from })` makes boxes that go on
   * from there. On QEMU alone, and without volumes but memory (tmpfs). Whatever was in the box's memory
   * is in the files of the snapshot. @default {false}
   */
  readonly memory?: boolean;
  /** Gives it up; nothing is left of it then. */
  readonly signal?: AbortSignal;
}

/** A snapshot of a box's disk; plain JSON, as `hutch snapshot ls --json` prints it. */
export interface SnapshotInfo extends SnapshotRecord {
  /**
   * Bytes that its own backing disk takes on this machine: what was written since the disk below it
   * was left.
   */
  readonly bytes: number;
  /** Bytes that its memory takes; 0 without. */
  readonly memoryBytes: number;
}

/** A snapshot that was just taken. */
export interface SnapshotCreated extends SnapshotInfo, QuiesceReport {}

/** Options of `box.snapshots.restore`. */
export interface SnapshotRestoreOptions {
  /** Stops the box first if it runs. @default {false} */
  readonly stop?: boolean;
  /** Drops what the disk has now; else a snapshot of it is taken before. @default {false} */
  readonly force?: boolean;
}

/** What a restore did. */
export interface SnapshotRestored {
  /** The snapshot that the disk is again. */
  readonly snapshot: SnapshotInfo;
  /** The snapshot of what the disk was before; null with `force`, and where nothing was lost. */
  readonly safety: SnapshotInfo | null;
}

/** What differs between a snapshot and another one, or the box as it is. */
export interface SnapshotDiff {
  /** Name of the snapshot. */
  readonly from: string;
  /** Name of the other one; null for the box's disk as it is now. */
  readonly to: string | null;
  /** Blocks that were written to on either side since they parted, be it with the same. */
  readonly blocks: number;
  /** Bytes of one block. */
  readonly blockBytes: number;
  /** Bytes of all of them. */
  readonly bytes: number;
}

/** Options of {@link Box.clone}. */
export interface CloneOptions {
  /** The clone's name; of several: `NAME-1`, `NAME-2` and so on. @default {`box-ID`} */
  readonly name?: string;
  /** How many. @default {1} */
  readonly count?: number;
  /** Starts them. @default {false} */
  readonly start?: boolean;
  /** Name of the snapshot to make them of. @default {the box as it is} */
  readonly snapshot?: string;
  /** Labels of the clones, in place of the box's. */
  readonly labels?: Readonly<Record<string, string>>;
  /** As for a snapshot. @default {"best"} */
  readonly consistency?: "best" | "required";
  /** They outlive this program, once started. @default {false} */
  readonly detached?: boolean;
}
