/**
 * From the words of a command line to the command they ask for.
 *
 * @module
 */
import { resolve } from "node:path";
import { type Command, type CommanderError, loadCommander } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { VERSION } from "../version.ts";
import type { CommandEntry, CommandModule, GlobalFlags } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { collect } from "./values.ts";

/** What a command line asks for. */
export type Parsed =
  | { readonly kind: "text"; readonly text: string }
  | {
    readonly kind: "command";
    readonly name: string;
    readonly command: Command;
    readonly module: CommandModule;
    readonly args: readonly string[];
    readonly globals: GlobalFlags;
  };

/** A program with some of its commands' own definitions. */
export interface Program {
  readonly program: Command;
  /** What is asked for, once parsed. */
  chosen(): { entry: CommandEntry; command: Command } | undefined;
  /** Help and version texts that parsing wrote. */
  text(): string;
}

/** Options of {@link parseCommandLine}. */
export interface ParseOptions {
  /** Width of help, in columns. @default {80} */
  readonly columns?: number;
}

interface RawGlobals {
  readonly home?: string;
  readonly insecureRegistry?: readonly string[];
  readonly debug?: boolean;
}

/**
 * Reads a command line, without doing what it says.
 *
 * @throws {HutchError} `invalid_option` for anything it doesn't understand, with a near miss where
 * there is one.
 */
export async function parseCommandLine(
  args: readonly string[],
  options: ParseOptions = {},
): Promise<Parsed> {
  const { name, helped } = await findCommand(args);
  const entry = name === undefined ? undefined : entryOf(name);
  const module = await entry?.load();
  const loaded = entry && module ? new Map([[entry, module]]) : new Map();
  const built = await buildProgram(loaded, options);
  // "help nope" would show the program's help, as if all was well.
  const missed = helped && name !== undefined && !entry && name !== "help";
  try {
    await built.program.parseAsync(missed ? [name] : [...args], { from: "user" });
  } catch (error) {
    if (!isCommanderError(error)) throw error;
    if (HELP_CODES.has(error.code)) return { kind: "text", text: built.text() };
    throw usageError(error, entry);
  }
  const chosen = built.chosen();
  if (!chosen || !module) {
    throw new Error(`Cannot run ${JSON.stringify(args)}: parsing chose no command`);
  }
  const { command } = chosen;
  return {
    kind: "command",
    name: chosen.entry.name,
    command,
    module,
    args: command.args,
    globals: globalsOf(built.program.opts<RawGlobals>(), command.opts<RawGlobals>()),
  };
}

/** The entry of a command or of an alias. */
export function entryOf(name: string): CommandEntry | undefined {
  return COMMANDS.find((entry) => entry.name === name || entry.aliases?.includes(name));
}

/** Builds the program; commands that aren't `loaded` are there by name and summary alone. */
export async function buildProgram(
  loaded: ReadonlyMap<CommandEntry, CommandModule>,
  options: ParseOptions = {},
): Promise<Program> {
  const { Command } = await loadCommander();
  let text = "";
  let chosen: { entry: CommandEntry; command: Command } | undefined;
  const program = new Command("hutch");
  const columns = options.columns ?? 80;
  program
    .description("Runs commands in small virtual machines made from container images.")
    .usage("[options] COMMAND [ARG...]")
    .exitOverride()
    .configureOutput({
      writeOut: (written) => text += written,
      writeErr: (written) => text += written,
      // The error is thrown too, and printed once, by whoever catches it.
      outputError: () => {},
      getOutHelpWidth: () => columns,
      getErrHelpWidth: () => columns,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .configureHelp({ subcommandTerm: (command) => command.name(), minWidthToWrap: 20 })
    .enablePositionalOptions()
    .helpOption("-h, --help", "show help")
    .helpCommand("help [COMMAND]", "Show a command's help")
    .version(`hutch ${VERSION}`, "-v, --version", "show hutch's version");
  addGlobalOptions(program, false);
  program.addHelpText("after", "\nA command's options: hutch COMMAND --help");
  for (const entry of COMMANDS) {
    const command = program.command(entry.name, { hidden: entry.hidden ?? false });
    command.summary(entry.summary).description(`${entry.summary}.`);
    if (entry.aliases) command.aliases(entry.aliases);
    const module = loaded.get(entry);
    if (!module) continue;
    module.define(command);
    // Also after the command's name, where many expect them.
    addGlobalOptions(command, true);
    command.action(() => {
      chosen = { entry, command };
    });
  }
  return { program, chosen: () => chosen, text: () => text };
}

const HELP_CODES = new Set(["commander.help", "commander.helpDisplayed", "commander.version"]);

/** The command's name among the words, found with the program's own options in mind. */
async function findCommand(
  args: readonly string[],
): Promise<{ name: string | undefined; helped: boolean }> {
  const { program } = await buildProgram(new Map());
  let words: string[];
  try {
    const { operands, unknown } = program.parseOptions([...args]);
    words = [...operands, ...unknown];
  } catch (error) {
    // The whole parse meets it again and reports it.
    if (isCommanderError(error)) return { name: undefined, helped: false };
    throw error;
  }
  const helped = words[0] === "help";
  return { name: helped ? words[1] : words[0], helped };
}

function addGlobalOptions(command: Command, hidden: boolean): void {
  command
    .addOption(
      command.createOption(
        "--home <DIR>",
        "keep everything in DIR (default: $HUTCH_HOME, ~/.hutch)",
      )
        .hideHelp(hidden),
    )
    .addOption(
      command.createOption("--insecure-registry <HOST>", "speak to HOST[:PORT] without TLS")
        .argParser(collect).hideHelp(hidden),
    )
    .addOption(
      command.createOption("--debug", "show causes and stacks of errors, and what goes on")
        .hideHelp(hidden),
    );
}

function globalsOf(outer: RawGlobals, inner: RawGlobals): GlobalFlags {
  const home = inner.home ?? outer.home;
  if (home === "") {
    throw new HutchError("invalid_option", 'Cannot use --home: "" is not a folder', {
      hint: "give the folder's path",
    });
  }
  const variable = Deno.env.get("HUTCH_DEBUG");
  return {
    home: home === undefined ? undefined : resolve(home),
    insecureRegistries: [...outer.insecureRegistry ?? [], ...inner.insecureRegistry ?? []],
    debug: inner.debug === true || outer.debug === true ||
      (variable !== undefined && variable !== "" && variable !== "0"),
  };
}

function isCommanderError(error: unknown): error is CommanderError {
  // By name, not by class: commander is loaded lazily.
  return error instanceof Error && error.name === "CommanderError" && "exitCode" in error;
}

function usageError(error: CommanderError, entry: CommandEntry | undefined): HutchError {
  const [first = "", second] = error.message.replace(/^error: /, "").split("\n(");
  const help = entry && !entry.hidden ? `hutch ${entry.name} --help` : "hutch --help";
  const meant = second?.replace(/^Did you mean/, "did you mean").replace(/\)$/, "");
  return new HutchError("invalid_option", `Cannot read the command line: ${first}`, {
    hint: meant ?? `see \`${help}\``,
    cause: error,
  });
}
