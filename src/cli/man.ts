/**
 * `hutch man`: the manual page, from what `--help` is made of.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { VERSION } from "../version.ts";
import type { CommandEntry, CommandModule, Invocation } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { print } from "./io.ts";
import { buildProgram } from "./program.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options]").addHelpText("after", "\nTo read it: hutch man | man -l -");
}

/** Prints the page. */
export async function run({ io }: Invocation): Promise<number> {
  await print(io.stdout, await manualPage());
  return 0;
}

/** The page, in the language of man(7). */
export async function manualPage(): Promise<string> {
  const loaded = new Map<CommandEntry, CommandModule>();
  const load = async (entries: readonly CommandEntry[]): Promise<void> => {
    for (const entry of entries.filter(({ hidden }) => hidden !== true)) {
      const module = await entry.load?.();
      if (module) loaded.set(entry, module);
      await load(entry.commands ?? []);
    }
  };
  await load(COMMANDS);
  const { program } = await buildProgram(loaded);
  return [
    `.TH HUTCH 1 "" "hutch ${VERSION}" "hutch"`,
    ".SH NAME",
    "hutch \\- run commands in small virtual machines made from container images",
    ".SH SYNOPSIS",
    `.B hutch\n${text(program.usage())}`,
    ".SH OPTIONS",
    ...optionsOf(program),
    ".SH COMMANDS",
    ...program.commands.flatMap((command) => commandLines(command, "hutch")),
    "",
  ].join("\n");
}

function commandLines(command: Command, parent: string): string[] {
  if (command.name() === "help" || command.name().startsWith("__")) return [];
  const name = `${parent} ${command.name()}`;
  const aliases = command.aliases();
  return [
    `.SS ${text(`${name} ${command.usage()}`)}`,
    text(command.description()) +
    (aliases.length > 0 ? `\nAlso: ${text(aliases.join(", "))}.` : ""),
    ...command.registeredArguments.filter(({ description }) => description !== "")
      .flatMap((argument) => entry(argument.name(), argument.description)),
    ...optionsOf(command),
    ...command.commands.flatMap((nested) => commandLines(nested, name)),
  ];
}

function optionsOf(command: Command): string[] {
  const help = command.createHelp();
  return help.visibleOptions(command).filter(({ long }) => long !== "--help")
    .flatMap((option) => entry(option.flags, help.optionDescription(option)));
}

function entry(term: string, description: string): string[] {
  return [".TP", `.B ${text(term)}`, text(description)];
}

/** A text as it is: nothing in it is a request, and hyphens can be searched for. */
function text(words: string): string {
  return words.replaceAll("\\", "\\e").replaceAll("-", "\\-").replace(/^(?=[.'])/gm, "\\&");
}
