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
  readonly plugin?: readonly string[];
  readonly config?: string | false;
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
  const { names, helped } = await findCommand(args);
  const entries = entriesAt(names);
  const entry = entries.at(-1);
  const module = await entry?.load?.();
  const loaded = entry && module ? new Map([[entry, module]]) : new Map();
  const built = await buildProgram(loaded, options);
  try {
    await built.program.parseAsync(helped ? helpWords(names) : [...args], { from: "user" });
  } catch (error) {
    if (!isCommanderError(error)) throw error;
    if (HELP_CODES.has(error.code)) return { kind: "text", text: built.text() };
    throw usageError(error, entries);
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
    globals: globalsOf(linesOf(command).map((each) => each.opts<RawGlobals>())),
  };
}

/** The entries that words lead to, groups first; fewer where a word leads nowhere. */
export function entriesAt(words: readonly string[]): readonly CommandEntry[] {
  const found: CommandEntry[] = [];
  let among = COMMANDS;
  for (const word of words) {
    const entry = among.find(({ name, aliases }) => name === word || aliases?.includes(word));
    if (!entry) break;
    found.push(entry);
    among = entry.commands ?? [];
  }
  return found;
}

/** A command and what it belongs to, the program first. */
function linesOf(command: Command): readonly Command[] {
  return command.parent ? [...linesOf(command.parent), command] : [command];
}

/** What shows the help that was asked for, or says that there is none. */
function helpWords(names: readonly string[]): string[] {
  if (names.length === 0 || names[0] === "help") return ["help"];
  // "help nope" would show the program's help, as if all was well.
  return entriesAt(names).length < names.length ? [...names] : [...names, "--help"];
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
  const add = (to: Command, entry: CommandEntry) => {
    const command = to.command(entry.name, { hidden: entry.hidden ?? false });
    command.summary(entry.summary).description(`${entry.summary}.`);
    if (entry.aliases) command.aliases(entry.aliases);
    const module = loaded.get(entry);
    module?.define(command);
    // Also after the command's name, where many expect them.
    if (module || entry.commands) addGlobalOptions(command, true);
    if (entry.commands) {
      command.usage("COMMAND [ARG...]").enablePositionalOptions().helpCommand(false);
      for (const nested of entry.commands) add(command, nested);
    } else if (module) {
      command.action(() => {
        chosen = { entry, command };
      });
    }
  };
  for (const entry of COMMANDS) add(program, entry);
  return { program, chosen: () => chosen, text: () => text };
}

const HELP_CODES = new Set(["commander.help", "commander.helpDisplayed", "commander.version"]);

/** The command's name among the words, with those of its groups, found with options in mind. */
async function findCommand(
  args: readonly string[],
): Promise<{ names: readonly string[]; helped: boolean }> {
  const { program } = await buildProgram(new Map());
  const names: string[] = [];
  let parser: Command | undefined = program;
  let rest = [...args];
  try {
    while (parser) {
      const { operands, unknown } = parser.parseOptions(rest);
      const [word, ...after] = [...operands, ...unknown];
      if (word === undefined) break;
      if (word === "help" && parser === program) return { names: after, helped: true };
      names.push(word);
      rest = after;
      const entry = entriesAt(names)[names.length - 1];
      parser = entry?.commands && parser.commands.find((each) => each.name() === entry.name);
    }
  } catch (error) {
    // The whole parse meets it again and reports it.
    if (!isCommanderError(error)) throw error;
  }
  return { names, helped: false };
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
      command.createOption(
        "--plugin <FILE>",
        "load plugins from a module, by path or URL (repeatable)",
      )
        .argParser(collect).hideHelp(hidden),
    )
    .addOption(
      command.createOption(
        "--config <FILE>",
        "use this configuration (default: $HUTCH_CONFIG, the nearest hutch.config.ts)",
      )
        .hideHelp(hidden),
    )
    .addOption(
      command.createOption("--no-config", "use no configuration file").hideHelp(hidden),
    )
    .addOption(
      command.createOption("--debug", "show causes and stacks of errors, and what goes on")
        .hideHelp(hidden),
    );
}

/** What the program's own options and those of a command say; the last counts. */
function globalsOf(levels: readonly RawGlobals[]): GlobalFlags {
  const home = levels.findLast((level) => level.home !== undefined)?.home;
  const config = levels.findLast((level) => level.config !== undefined)?.config;
  const plugins = levels.flatMap((level) => level.plugin ?? []);
  refuseEmpty("--home", "a folder", home);
  refuseEmpty("--config", "a file", config);
  for (const plugin of plugins) refuseEmpty("--plugin", "a module", plugin);
  const variable = Deno.env.get("HUTCH_DEBUG");
  return {
    home: home === undefined ? undefined : resolve(home),
    insecureRegistries: levels.flatMap((level) => level.insecureRegistry ?? []),
    plugins,
    config,
    debug: levels.some((level) => level.debug === true) ||
      (variable !== undefined && variable !== "" && variable !== "0"),
  };
}

function refuseEmpty(option: string, what: string, value: string | false | undefined): void {
  if (value !== "") return;
  throw new HutchError("invalid_option", `Cannot use ${option}: "" is not ${what}`, {
    hint: "give its path",
  });
}

function isCommanderError(error: unknown): error is CommanderError {
  // By name, not by class: commander is loaded lazily.
  return error instanceof Error && error.name === "CommanderError" && "exitCode" in error;
}

function usageError(error: CommanderError, entries: readonly CommandEntry[]): HutchError {
  const [first = "", second] = error.message.replace(/^error: /, "").split("\n(");
  const shown = entries.some((entry) => entry.hidden) ? [] : entries.map(({ name }) => name);
  const help = ["hutch", ...shown, "--help"].join(" ");
  const meant = second?.replace(/^Did you mean/, "did you mean").replace(/\)$/, "");
  return new HutchError("invalid_option", `Cannot read the command line: ${first}`, {
    hint: meant ?? `see \`${help}\``,
    cause: error,
  });
}
