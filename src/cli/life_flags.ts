/**
 * The options of `run` and `create` that say how long a box lives, and who looks after it.
 *
 * @module
 */
import type { BoxOptions, HealthCheck, RestartPolicy } from "../box/options.ts";
import { restartRule } from "../box/restart.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { parseCount, parseTimeMs } from "./values.ts";

/** Times are in `ms`. */
export interface LifeFlags {
  readonly maxDuration?: number;
  readonly idleTimeout?: number;
  readonly restart?: RestartPolicy;
  readonly healthCmd?: string;
  readonly healthInterval?: number;
  readonly healthTimeout?: number;
  readonly healthRetries?: number;
  readonly healthStartPeriod?: number;
}

/** Declares {@link LifeFlags}; those that Docker has too have its names. */
export function defineLifeFlags(command: Command): void {
  const add = (flag: string, help: string) =>
    command.option(`${flag} <TIME>`, help, (text: string) => parseTimeMs(text, flag));
  add("--max-duration", "stop the box so long after its start, such as 30s or 5m");
  add(
    "--idle-timeout",
    "stop the box when no command, file or network traffic was under way for so long",
  );
  command
    .option(
      "--restart <POLICY>",
      "start the box again when it ends by itself: no, on-failure[:N], always (default: no)",
      parseRestart,
    )
    .option(
      "--health-cmd <COMMAND>",
      "shell command in the box that ends with 0 when all is well (default: ask the box's agent, " +
        "if another --health option is given)",
    );
  add("--health-interval", "time between checks (default: 30s)");
  add("--health-timeout", "a check that takes longer has failed (default: 10s)");
  command.option(
    "--health-retries <N>",
    "failures in a row that make the box unhealthy (default: 3)",
    (text: string) => parseCount(text, "--health-retries"),
  );
  add("--health-start-period", "time after the start in which failures don't count (default: 60s)");
}

/** What the options ask for. */
export function lifeOptionsOf(flags: LifeFlags): Partial<BoxOptions> {
  const health: HealthCheck = {
    ...flags.healthCmd === undefined ? {} : { command: shell(flags.healthCmd) },
    ...flags.healthInterval === undefined ? {} : { intervalMs: flags.healthInterval },
    ...flags.healthTimeout === undefined ? {} : { timeoutMs: flags.healthTimeout },
    ...flags.healthRetries === undefined ? {} : { retries: flags.healthRetries },
    ...flags.healthStartPeriod === undefined ? {} : { startPeriodMs: flags.healthStartPeriod },
  };
  return {
    ...flags.maxDuration === undefined ? {} : { maxDurationMs: flags.maxDuration },
    ...flags.idleTimeout === undefined ? {} : { idleTimeoutMs: flags.idleTimeout },
    ...flags.restart === undefined ? {} : { restart: flags.restart },
    ...Object.keys(health).length === 0 ? {} : { health },
  };
}

/** As Docker does: the text is for the box's shell. */
function shell(text: string): string[] {
  if (text.trim() !== "") return ["/bin/sh", "-c", text];
  throw new HutchError("invalid_option", "Cannot use --health-cmd: it is empty", {
    hint: "leave it out to have the box's agent asked",
  });
}

function parseRestart(text: string): RestartPolicy {
  if (isPolicy(text)) return text;
  throw new HutchError(
    "invalid_option",
    `Cannot read --restart: ${JSON.stringify(text)} is no restart policy`,
    { hint: "take no, on-failure, on-failure:N with N from 1, or always (a stop ends it)" },
  );
}

function isPolicy(text: string): text is RestartPolicy {
  return restartRule(text) !== undefined;
}
