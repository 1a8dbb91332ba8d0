/**
 * The commands of `hutch volume`.
 *
 * @module
 */
import type { CommandEntry } from "./command.ts";

/** In the order of `hutch volume --help`. */
export const VOLUME_COMMANDS: readonly CommandEntry[] = [
  { name: "create", summary: "Make a named volume", load: () => import("./volume_create.ts") },
  {
    name: "ls",
    aliases: ["list"],
    summary: "List named volumes",
    load: () => import("./volume_ls.ts"),
  },
  {
    name: "inspect",
    summary: "Show everything about volumes, as JSON",
    load: () => import("./volume_inspect.ts"),
  },
  { name: "rm", summary: "Remove volumes", load: () => import("./volume_rm.ts") },
  {
    name: "prune",
    summary: "Remove volumes that no box has",
    load: () => import("./volume_prune.ts"),
  },
];
