/**
 * Every command, each loaded only when it is the one asked for.
 *
 * @module
 */
import type { CommandEntry } from "./command.ts";

/** In the order of `hutch --help`. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "run",
    summary: "Make a box from an image and run a command in it",
    load: () => import("./run.ts"),
  },
  {
    name: "create",
    summary: "Make a box without starting it",
    load: () => import("./create.ts"),
  },
  { name: "start", summary: "Start boxes", load: () => import("./start.ts") },
  { name: "exec", summary: "Run a command in a box", load: () => import("./exec.ts") },
  { name: "stop", summary: "Stop boxes", load: () => import("./stop.ts") },
  { name: "kill", summary: "End boxes at once", load: () => import("./kill.ts") },
  { name: "rm", summary: "Remove boxes", load: () => import("./rm.ts") },
  { name: "ls", aliases: ["ps"], summary: "List boxes", load: () => import("./ls.ts") },
  {
    name: "inspect",
    summary: "Show everything about boxes, as JSON",
    load: () => import("./inspect.ts"),
  },
  { name: "pull", summary: "Fetch an image", load: () => import("./pull.ts") },
  { name: "images", summary: "List images", load: () => import("./images.ts") },
  {
    name: "doctor",
    summary: "Show what hutch found on this machine, and what is missing",
    load: () => import("./doctor.ts"),
  },
  {
    name: "completion",
    summary: "Print a shell's completion script",
    load: () => import("./completion.ts"),
  },
  { name: "version", summary: "Show versions", load: () => import("./version.ts") },
  {
    name: "__complete",
    summary: "Answer a completion script",
    hidden: true,
    load: () => import("./complete.ts"),
  },
];
