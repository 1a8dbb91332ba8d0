/**
 * `hutch update`.
 *
 * @module
 */
import { parseSizeMiB } from "../box/size.ts";
import type { BoxUpdate } from "../box/update.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { defineLifeFlags, type LifeFlags, lifeOptionsOf } from "./life_flags.ts";
import { eachBox } from "./session.ts";
import { collect, parseCount, parseLabels, parseTimeMs } from "./values.ts";

interface Flags extends LifeFlags {
  readonly label?: readonly string[];
  readonly labelRm?: readonly string[];
  readonly cpus?: number;
  /** In `MiB`. */
  readonly memory?: number;
  /** In `ms`. */
  readonly bootTimeout?: number;
  /** False for `--no-health`. */
  readonly health: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX...")
    .argument("<BOX...>", "names, ids or unique beginnings of ids")
    .option("-l, --label <KEY=VALUE>", "set a label (repeatable)", collect)
    .option("--label-rm <KEY>", "take a label away (repeatable)", collect)
    .option("--cpus <N>", "virtual CPUs", (text: string) => parseCount(text, "--cpus"))
    .option(
      "-m, --memory <SIZE>",
      "memory, such as 512m or 2g",
      (text: string) => parseSizeMiB(text, "--memory"),
    )
    .option(
      "--boot-timeout <TIME>",
      "how long the box may take to answer, in seconds",
      (text: string) => parseTimeMs(text, "--boot-timeout"),
    );
  defineLifeFlags(command);
  command
    .option("--no-health", "check the box's health no more")
    .addHelpText(
      "after",
      "\nLabels and --boot-timeout can always be changed, the rest while the box doesn't run.\n" +
        "A --max-duration or --idle-timeout of 0 means never.",
    );
}

/** Changes what boxes are. */
export async function run(invocation: Invocation): Promise<number> {
  const update = updateOf(invocation.command.opts<Flags>());
  if (Object.keys(update).length === 0) {
    throw new HutchError("invalid_option", "Cannot update: no option says what to change", {
      hint: "see `hutch update --help`",
    });
  }
  return await eachBox(invocation, (box) => box.update(update));
}

function updateOf(flags: Flags): BoxUpdate {
  const { maxDurationMs, idleTimeoutMs, restart, health } = lifeOptionsOf(flags);
  if (!flags.health && health) {
    throw new HutchError(
      "invalid_option",
      "Cannot use --no-health with other --health options: they contradict each other",
    );
  }
  const labels: Record<string, string | null> = Object.fromEntries([
    ...Object.entries(parseLabels(flags.label ?? [], "--label")),
    ...(flags.labelRm ?? []).map((key) => [key, null] as const),
  ]);
  return {
    ...Object.keys(labels).length === 0 ? {} : { labels },
    ...flags.cpus === undefined ? {} : { cpus: flags.cpus },
    ...flags.memory === undefined ? {} : { memory: flags.memory },
    ...flags.bootTimeout === undefined ? {} : { bootTimeoutMs: flags.bootTimeout },
    ...maxDurationMs === undefined ? {} : { maxDurationMs: maxDurationMs || null },
    ...idleTimeoutMs === undefined ? {} : { idleTimeoutMs: idleTimeoutMs || null },
    ...restart === undefined ? {} : { restart },
    ...flags.health ? {} : { health: null },
    ...health === undefined ? {} : { health },
  };
}
