/**
 * What boxes are asked with that go on from a snapshot's memory.
 *
 * @module
 */
import type { BoxOptions } from "./options.ts";

/** A snapshot of a box. */
export interface SnapshotReference {
  /** Name or id of the box, or the beginning of its id. */
  readonly box: string;
  /** Name of the snapshot. */
  readonly snapshot: string;
}

/**
 * Options of `Runtime.create` for a box that goes on from a snapshot that has memory. Its own are `name`,
 * `hostname`, `labels`, `env`, `cwd`, `user`, `ports`, `autoRemove`, `detached`, `bootTimeoutMs`,
 * `maxDurationMs`, `idleTimeoutMs`, `restart` and `health`; what is left out is as the box had it, ports
 * of this machine that were fixed are picked by the system, and limits of time begin anew. `image`, `cpus`,
 * `memory`, `disk`, `engine` and `network` may be given where they say what the snapshot has. All else is
 * part of what the memory is of, and refused.
 */
export interface FromOptions extends Partial<BoxOptions> {
  /** `BOX/SNAPSHOT`, or the two of them. */
  readonly from: string | SnapshotReference;
}
