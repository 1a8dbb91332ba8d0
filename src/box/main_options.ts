/**
 * What a box's main command is asked to be, and what is recorded of it.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { ImageConfig } from "../images/config.ts";
import type { LogLimits } from "../vmm/log_files.ts";
import { checkCommand } from "./exec_check.ts";
import type { ExecOptions } from "./exec_options.ts";
import type { BoxConfig, BoxOptions } from "./options.ts";
import { signalNumber } from "./signals.ts";

/** Options of commands that a main command can have too. */
export type MainLimits = Pick<ExecOptions, "rlimits" | "capabilities" | "noNewPrivileges">;

/** A main command as options name it. */
export interface MainOptions extends MainLimits {
  /** Arguments after the entrypoint, in place of the image's command. @default {the image's} */
  readonly args?: readonly string[];
  /** Whether it has a standard input, which whoever is joined writes to. @default {false} */
  readonly stdin?: boolean;
  /**
   * Whether the box may do without one where the image has none, or a mere shell, which would end at
   * once without an input. @default {false}
   */
  readonly optional?: boolean;
}

/** A main command as it is recorded. */
export interface MainConfig extends MainLimits {
  /** Program and arguments; one at least. */
  readonly argv: readonly string[];
  readonly stdin: boolean;
}

/** How much of a box's log is kept; the oldest goes first. */
export interface LogOptions {
  /** Size of a file, in bytes, at least 65,536. @default {10 MiB} */
  readonly maxBytes?: number;
  /** How many files are kept, 1 to 100. @default {3} */
  readonly files?: number;
}

/** What boxes have that don't say. */
export const DEFAULT_LOG: LogLimits = { maxBytes: 10 * 2 ** 20, files: 3 };
const LEAST_LOG_BYTES = 64 * 1024;
const MOST_LOG_FILES = 100;
const SHELL = /^(.*\/)?(ash|bash|dash|fish|ksh|sh|zsh)$/;

/** Checks what can be checked without the image. Throws `invalid_option`. */
export function checkMain({ main, init, stopSignal, log }: BoxOptions): void {
  if (typeof init === "string") {
    if (!init.startsWith("/")) {
      refuse(
        `Cannot give the box to init ${JSON.stringify(init)}: its path doesn't begin with "/"`,
      );
    }
    if (main) refuse(`Cannot run a main command beside ${init}: that is the box's main command`);
    checkCommand({ command: init, args: [], options: {} });
  }
  const { args = [], stdin: _stdin, optional: _optional, ...limits } = mainOptions(main) ?? {};
  checkCommand({ command: "main", args, options: limits });
  if (stopSignal !== undefined) signalNumber(stopSignal);
  const { maxBytes = LEAST_LOG_BYTES, files = 1 } = log ?? {};
  if (!Number.isSafeInteger(maxBytes) || maxBytes < LEAST_LOG_BYTES) {
    refuse(`Cannot keep logs of ${maxBytes} bytes: a file has ${LEAST_LOG_BYTES} at least`);
  }
  if (!Number.isSafeInteger(files) || files < 1 || files > MOST_LOG_FILES) {
    refuse(`Cannot keep ${files} files of logs: it isn't a number from 1 to ${MOST_LOG_FILES}`);
  }
}

/** The parts of a box's configuration that this module is about. */
export function mainConfigOf(
  options: BoxOptions,
  { entrypoint, command }: Pick<BoxConfig, "entrypoint" | "command">,
  image: Pick<ImageConfig, "stopSignal">,
): Pick<BoxConfig, "main" | "init" | "stopSignal" | "log"> {
  const { main, init, stopSignal, log } = options;
  return {
    main: typeof init === "string"
      ? { argv: [init], stdin: false }
      : recorded(mainOptions(main), entrypoint, command, options.image),
    init: typeof init === "string" ? init : null,
    stopSignal: stopSignal ?? (isSignal(image.stopSignal) ? image.stopSignal : ""),
    log: { ...DEFAULT_LOG, ...log },
  };
}

function mainOptions(main: BoxOptions["main"]): MainOptions | undefined {
  if (main === undefined || main === false) return undefined;
  if (main === true) return {};
  return isArgs(main) ? { args: main } : main;
}

function isArgs(main: readonly string[] | MainOptions): main is readonly string[] {
  return Array.isArray(main);
}

function recorded(
  asked: MainOptions | undefined,
  entrypoint: readonly string[],
  command: readonly string[],
  image: string,
): MainConfig | null {
  if (!asked) return null;
  const { args, stdin = false, optional = false, ...limits } = asked;
  const argv = [...entrypoint, ...args ?? command];
  if (optional && !args && !stdin && isMereShell(argv)) return null;
  if (argv[0] === undefined || argv[0] === "") {
    throw new HutchError(
      "invalid_option",
      `Cannot run a main command: ${JSON.stringify(image)} names none of its own`,
      { hint: "give the box one" },
    );
  }
  return { argv, stdin, ...limits };
}

/** Whether nothing, or a shell alone, is named. */
function isMereShell([program, ...args]: readonly string[]): boolean {
  return program === undefined || (args.length === 0 && SHELL.test(program));
}

/** Images may say anything. */
function isSignal(text: string): boolean {
  try {
    return text !== "" && signalNumber(text) > 0;
  } catch {
    return false;
  }
}

function refuse(message: string): never {
  throw new HutchError("invalid_option", message);
}
