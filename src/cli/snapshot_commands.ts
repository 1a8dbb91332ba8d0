/**
 * The commands of `hutch snapshot`.
 *
 * @module
 */
import type { CommandEntry } from "./command.ts";

/** In the order of `hutch snapshot --help`. */
export const SNAPSHOT_COMMANDS: readonly CommandEntry[] = [
  {
    name: "create",
    summary: "Take a snapshot of a box's disk",
    load: () => import("./snapshot_create.ts"),
  },
  {
    name: "ls",
    aliases: ["list"],
    summary: "List a box's snapshots",
    load: () => import("./snapshot_ls.ts"),
  },
  { name: "rm", summary: "Remove snapshots", load: () => import("./snapshot_rm.ts") },
  {
    name: "restore",
    summary: "Make a box's disk what a snapshot has",
    load: () => import("./snapshot_restore.ts"),
  },
  {
    name: "diff",
    summary: "Show how much was written since a snapshot",
    load: () => import("./snapshot_diff.ts"),
  },
];
