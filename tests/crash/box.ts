/**
 * The box whose life is cut short, and the stages of its starts.
 *
 * @module
 */
import type { BoxOptions, Stages } from "../../mod.ts";

/** Without a machine: see the engine double. */
export const BOX = {
  image: "builtin:busybox",
  memory: 128,
  disk: 64,
  engine: "double",
  main: ["wait"],
} satisfies BoxOptions;

const ALL: Readonly<Record<keyof Stages, true>> = {
  layout: true,
  image: true,
  system: true,
  disk: true,
  volumes: true,
  network: true,
  boot: true,
  connect: true,
  configure: true,
  main: true,
};

/** Every stage: one that the contract gains doesn't compile here until it is named. */
export const STAGES: readonly string[] = Object.keys(ALL);
