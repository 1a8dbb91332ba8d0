/**
 * The commands of `hutch image`.
 *
 * @module
 */
import type { CommandEntry } from "./command.ts";

/** In the order of `hutch image --help`. */
export const IMAGE_COMMANDS: readonly CommandEntry[] = [
  { name: "ls", aliases: ["list"], summary: "List images", load: () => import("./images.ts") },
  { name: "pull", summary: "Fetch an image", load: () => import("./pull.ts") },
  { name: "push", summary: "Bring an image to a registry", load: () => import("./push.ts") },
  {
    name: "inspect",
    summary: "Show everything about images, as JSON",
    load: () => import("./image_inspect.ts"),
  },
  {
    name: "history",
    summary: "Show how an image was made",
    load: () => import("./image_history.ts"),
  },
  { name: "tag", summary: "Give an image another name", load: () => import("./image_tag.ts") },
  { name: "rm", summary: "Remove images", load: () => import("./rmi.ts") },
  {
    name: "prune",
    summary: "Remove what no image or box needs",
    load: () => import("./image_prune.ts"),
  },
  { name: "save", summary: "Write images into a file", load: () => import("./image_save.ts") },
  { name: "load", summary: "Take images out of a file", load: () => import("./image_load.ts") },
];
