/**
 * What differs between two chains of overlays, by what was written to them.
 *
 * @module
 */
import { ABSENT, CLUSTER, Overlay } from "./overlay.ts";

/** Blocks that were written to. */
export interface ChangedBlocks {
  /** How many. */
  readonly blocks: number;
  /** Bytes of one. */
  readonly blockBytes: number;
  /** Bytes of all of them. */
  readonly bytes: number;
}

/**
 * Counts the blocks that any of these overlays has: those that differ between what is below all of
 * them and what is above. A block counts also when the same was written to it again.
 */
export function changedBlocks(paths: readonly string[]): ChangedBlocks {
  const seen = new Map<number, Set<number>>();
  for (const path of paths) {
    using overlay = new Overlay(path);
    for (const [index, table] of overlay.map()) {
      const known = seen.get(index) ?? new Set<number>();
      seen.set(index, known);
      table.forEach((place, n) => {
        if (place !== ABSENT) known.add(n);
      });
    }
  }
  let blocks = 0;
  for (const known of seen.values()) blocks += known.size;
  return { blocks, blockBytes: CLUSTER, bytes: blocks * CLUSTER };
}
