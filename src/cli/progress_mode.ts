/**
 * Where and in what way a pull's progress is shown.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { ByteSink } from "./io.ts";
import { parseChoice } from "./values.ts";

/** In what way progress is shown: bars that are drawn again and again, lines, or not at all. */
export type ProgressMode = "tty" | "plain" | "none";

const CHOICES = ["auto", "tty", "plain", "none"] as const;

/** Options that a command with progress has. */
export interface ProgressFlags {
  readonly quiet?: boolean;
  readonly progress?: typeof CHOICES[number];
}

/** Declares {@link ProgressFlags}. */
export function defineProgressFlags(command: Command): void {
  command
    .option("-q, --quiet", "don't show how a pull goes")
    .option(
      "--progress <HOW>",
      `how a pull is shown: ${CHOICES.join(", ")} (default: auto, bars on a terminal)`,
      (text: string) => parseChoice(text, CHOICES, "--progress"),
    );
}

/** What {@link progressMode} looks at. */
export interface ProgressPlace {
  readonly sink: ByteSink;
  readonly env: (name: string) => string | undefined;
  /** What `auto` is where there is no terminal at all. @default {"plain"} */
  readonly elsewhere?: "plain" | "none";
}

/**
 * In what way to show progress. Bars have no colours, so `NO_COLOR` doesn't matter to them; terminals
 * that can't write lines over (`TERM=dumb`) and those of builds (`CI`) get plain lines.
 *
 * @throws {HutchError} `invalid_option` for bars where there is no terminal.
 */
export function progressMode(
  { quiet, progress = "auto" }: ProgressFlags,
  { sink, env, elsewhere = "plain" }: ProgressPlace,
): ProgressMode {
  if (quiet) return "none";
  if (progress === "plain" || progress === "none") return progress;
  const terminal = sink.isTerminal();
  if (progress === "tty") {
    if (terminal) return "tty";
    throw new HutchError(
      "invalid_option",
      "Cannot draw progress: standard error is not a terminal",
      { hint: "take --progress plain" },
    );
  }
  if (!terminal) return elsewhere;
  const dumb = ["", "dumb"].includes(env("TERM") ?? "");
  const build = !["", "0", "false"].includes(env("CI") ?? "");
  return dumb || build ? "plain" : "tty";
}
