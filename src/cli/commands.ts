/**
 * Every command, each loaded only when it is the one asked for.
 *
 * @module
 */
import type { CommandEntry } from "./command.ts";
import { IMAGE_COMMANDS } from "./image_commands.ts";
import { SNAPSHOT_COMMANDS } from "./snapshot_commands.ts";
import { VOLUME_COMMANDS } from "./volume_commands.ts";

/** In the order of `hutch --help`. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "init",
    summary: "Write a script and a configuration to begin with",
    load: () => import("./init.ts"),
  },
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
  { name: "shell", summary: "Open a shell in a box", load: () => import("./shell.ts") },
  {
    name: "cp",
    summary: "Copy files between a box and this machine",
    load: () => import("./cp.ts"),
  },
  { name: "commit", summary: "Make an image of a box", load: () => import("./commit.ts") },
  { name: "export", summary: "Write a box into one file", load: () => import("./export.ts") },
  {
    name: "import",
    summary: "Make a box of what export wrote",
    load: () => import("./import.ts"),
  },
  {
    name: "attach",
    summary: "Join a box's main command, or what runs detached in it",
    load: () => import("./attach_box.ts"),
  },
  {
    name: "executions",
    summary: "List what runs detached in a box, and how it ended",
    load: () => import("./executions.ts"),
  },
  { name: "logs", summary: "Show what a box's commands said", load: () => import("./logs.ts") },
  {
    name: "publish",
    summary: "Open ports of this machine to a box that runs",
    load: () => import("./publish.ts"),
  },
  { name: "unpublish", summary: "Close them again", load: () => import("./unpublish.ts") },
  { name: "stop", summary: "Stop boxes", load: () => import("./stop.ts") },
  {
    name: "restart",
    summary: "Stop boxes and start them",
    load: () => import("./restart.ts"),
  },
  { name: "pause", summary: "Let boxes stand still", load: () => import("./pause.ts") },
  { name: "resume", summary: "Let paused boxes go on", load: () => import("./resume.ts") },
  {
    name: "wait",
    summary: "Wait until boxes end, and print how",
    load: () => import("./wait.ts"),
  },
  { name: "rename", summary: "Give a box another name", load: () => import("./rename.ts") },
  {
    name: "snapshot",
    summary: "Work with snapshots of boxes: create, ls, rm, restore, diff",
    commands: SNAPSHOT_COMMANDS,
  },
  {
    name: "clone",
    summary: "Make boxes that begin with a box's disk",
    load: () => import("./clone.ts"),
  },
  {
    name: "update",
    summary: "Change labels and limits of boxes",
    load: () => import("./update.ts"),
  },
  { name: "kill", summary: "End boxes at once", load: () => import("./kill.ts") },
  { name: "rm", summary: "Remove boxes", load: () => import("./rm.ts") },
  { name: "ls", aliases: ["ps"], summary: "List boxes", load: () => import("./ls.ts") },
  {
    name: "inspect",
    summary: "Show everything about boxes, as JSON",
    load: () => import("./inspect.ts"),
  },
  { name: "events", summary: "Show what happens, as it does", load: () => import("./events.ts") },
  {
    name: "stats",
    summary: "Show what boxes use and have done",
    load: () => import("./stats.ts"),
  },
  { name: "top", summary: "Show what boxes use, live", load: () => import("./top.ts") },
  { name: "pull", summary: "Fetch an image", load: () => import("./pull.ts") },
  {
    name: "push",
    summary: "Bring an image to a registry",
    load: () => import("./push.ts"),
  },
  { name: "images", summary: "List images", load: () => import("./images.ts") },
  { name: "rmi", summary: "Remove images", load: () => import("./rmi.ts") },
  {
    name: "image",
    summary: "Work with images: inspect, history, tag, prune, save, load and more",
    commands: IMAGE_COMMANDS,
  },
  {
    name: "volume",
    summary: "Work with named volumes: create, ls, inspect, rm, prune",
    commands: VOLUME_COMMANDS,
  },
  { name: "login", summary: "Log in to a registry", load: () => import("./login.ts") },
  { name: "logout", summary: "Log out of a registry", load: () => import("./logout.ts") },
  {
    name: "doctor",
    summary: "Show what hutch found on this machine, and what is missing",
    load: () => import("./doctor.ts"),
  },
  {
    name: "completion",
    aliases: ["completions"],
    summary: "Print a shell's completion script",
    load: () => import("./completion.ts"),
  },
  { name: "man", summary: "Print the manual page", load: () => import("./man.ts") },
  { name: "version", summary: "Show versions", load: () => import("./version.ts") },
  {
    name: "__complete",
    summary: "Answer a completion script",
    hidden: true,
    load: () => import("./complete.ts"),
  },
];
