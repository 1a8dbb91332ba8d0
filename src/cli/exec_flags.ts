/**
 * Options of `run` and `exec` that say what a command may do and how long, named as Docker has them.
 *
 * @module
 */
import {
  type Capability,
  CAPABILITY_NAMES,
  RLIMIT_NAMES,
  type RlimitName,
  type RlimitValue,
} from "../box/exec_limits.ts";
import type { ExecOptions, ExecStatus } from "../box/exec_options.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { type CliIo, print } from "./io.ts";
import { collect, parseChoice, parseTimeMs } from "./values.ts";

/** Options that {@link defineLimitFlags} declares. */
export interface LimitFlags {
  /** In `ms`. */
  readonly timeout?: number;
  /** In `ms`. */
  readonly killAfter?: number;
  readonly ulimit?: readonly string[];
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  readonly securityOpt?: readonly string[];
}

/** Exit code for a command whose time was over, as `timeout(1)` has it. */
const TIMED_OUT = 124;
const CAPABILITIES = [...CAPABILITY_NAMES, "ALL"] as const;
const PRIVILEGES = ["true", "false"] as const;

/** Declares {@link LimitFlags}. */
export function defineLimitFlags(command: Command): void {
  command
    .option(
      "--timeout <TIME>",
      "end the command after TIME, in seconds or with a unit; the exit code is then 124",
      (text: string) => parseTimeMs(text, "--timeout"),
    )
    .option(
      "--kill-after <TIME>",
      "kill it this long after --timeout if it still runs (default: 5)",
      (text: string) => parseTimeMs(text, "--kill-after"),
    )
    .option(
      "--ulimit <NAME=SOFT[:HARD]>",
      "resource limit, such as nofile=1024:2048; -1 is none (repeatable)",
      collect,
    )
    .option("--cap-add <CAPABILITY>", "give a Linux capability, or ALL (repeatable)", collect)
    .option("--cap-drop <CAPABILITY>", "take a Linux capability, or ALL (repeatable)", collect)
    .option(
      "--security-opt <OPTION>",
      "no-new-privileges: set-user-ID programs give nothing",
      collect,
    );
}

/** The command's options that the flags ask for. */
export function limitOptionsOf(flags: LimitFlags): ExecOptions {
  const { timeout, killAfter, ulimit, capAdd, capDrop, securityOpt = [] } = flags;
  if (killAfter !== undefined && timeout === undefined) {
    throw new HutchError("invalid_option", "Cannot use --kill-after: there is no --timeout");
  }
  return {
    ...timeout === undefined ? {} : { timeoutMs: timeout },
    ...killAfter === undefined ? {} : { killAfterMs: killAfter },
    ...ulimit ? { rlimits: Object.fromEntries(ulimit.map(parseUlimit)) } : {},
    ...capAdd || capDrop
      ? {
        capabilities: {
          add: (capAdd ?? []).map((name) => parseCapability(name, "--cap-add")),
          drop: (capDrop ?? []).map((name) => parseCapability(name, "--cap-drop")),
        },
      }
      : {},
    ...securityOpt.map(parseSecurityOption).at(-1) ? { noNewPrivileges: true } : {},
  };
}

/** A command's exit code for the shell, with a word on its time where that was over. */
export async function exitCodeOf(
  { code, timedOut }: ExecStatus,
  { timeout }: LimitFlags,
  io: CliIo,
): Promise<number> {
  if (!timedOut) return code;
  const seconds = (timeout ?? 0) / 1000;
  await print(io.stderr, `hutch: The command was ended: it took longer than ${seconds} s\n`);
  return TIMED_OUT;
}

function parseUlimit(
  text: string,
): [RlimitName, { readonly soft: RlimitValue; readonly hard: RlimitValue }] {
  const match = /^([^=]*)=(-?\w+)(?::(-?\w+))?$/.exec(text);
  if (!match) {
    throw new HutchError(
      "invalid_option",
      `Cannot read --ulimit: ${JSON.stringify(text)} is not NAME=SOFT or NAME=SOFT:HARD`,
      { hint: "write it like nofile=1024:2048" },
    );
  }
  const [, name = "", soft = "", hard = soft] = match;
  return [parseChoice(name, RLIMIT_NAMES, "--ulimit"), {
    soft: parseLimit(soft, text),
    hard: parseLimit(hard, text),
  }];
}

function parseLimit(text: string, whole: string): RlimitValue {
  if (text === "-1" || text === "unlimited") return "unlimited";
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new HutchError(
    "invalid_option",
    `Cannot read --ulimit ${JSON.stringify(whole)}: ${text} is not a whole number`,
    { hint: "give -1 for no limit" },
  );
}

function parseCapability(text: string, what: string): Capability | "ALL" {
  return parseChoice(text.toUpperCase().replace(/^CAP_/, ""), CAPABILITIES, what);
}

/** Whether it asks for no new privileges. */
function parseSecurityOption(text: string): boolean {
  const [name = "", value = "true"] = text.split(/[:=]/, 2);
  parseChoice(name, ["no-new-privileges"], "--security-opt");
  return parseChoice(value, PRIVILEGES, "--security-opt no-new-privileges") === "true";
}
