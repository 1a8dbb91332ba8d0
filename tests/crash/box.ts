/**
 * The box whose life is cut short.
 *
 * @module
 */
import type { BoxOptions } from "../../mod.ts";

/** Without a machine: see the engine double. */
export const BOX = {
  image: "builtin:busybox",
  memory: 128,
  disk: 64,
  engine: "double",
} satisfies BoxOptions;
