/**
 * What could come next on a command line, from the commands' own definitions.
 *
 * @module
 */
import type { Command, Option } from "../deps.ts";
import { ARCHIVE_FORMATS } from "../images/manage/archive.ts";
import { PULL_POLICIES } from "../images/pull/policy.ts";
import { SORTS } from "../state/box_list.ts";
import { EVENT_TYPES } from "../plugin/check.ts";
import { buildProgram, entriesAt } from "./program.ts";

/** A word that could come next. */
export interface Candidate {
  readonly value: string;
  /** For shells that show one. */
  readonly description: string;
}

/** What could come next. */
export interface Completion {
  readonly candidates: readonly Candidate[];
  /** What the shell itself should complete. */
  readonly paths?: "files" | "folders";
}

/** Names that only a home knows; `home` is the one given on the command line. */
export interface NameSource {
  boxes(home: string | undefined): Promise<readonly Candidate[]>;
  images(home: string | undefined): Promise<readonly Candidate[]>;
  /** Of the box that was named before. */
  snapshots(home: string | undefined, box: string): Promise<readonly Candidate[]>;
}

const NOTHING: Completion = { candidates: [] };

/** What the words before the one being written say about it. */
interface Place {
  readonly command: Command;
  /** The option whose value it is. */
  readonly awaited: Option | undefined;
  /** Operands before it, the command's name not counted. */
  readonly operands: readonly string[];
  /** Whether it can't be an option. */
  readonly literal: boolean;
  readonly home: string | undefined;
}

/** Completes the last of `words`, which follow `hutch`; it may be empty. */
export async function complete(
  words: readonly string[],
  names: NameSource,
): Promise<Completion> {
  const current = words.at(-1) ?? "";
  const place = await findPlace(words.slice(0, -1));
  if (!place) return NOTHING;
  const found = await candidatesAt(place, current, names);
  return {
    ...found,
    candidates: found.candidates.filter(({ value }) =>
      // A candidate with a space or a control character would come apart in the shell.
      value.startsWith(current) && /^[\u0021-\u007e]+$/.test(value)
    ),
  };
}

async function candidatesAt(
  place: Place,
  current: string,
  names: NameSource,
): Promise<Completion> {
  const { command, awaited, operands, literal } = place;
  if (awaited) return await valuesOf(metavarOf(awaited), place, names);
  if (!literal && current.startsWith("-")) {
    const at = current.indexOf("=");
    if (!current.startsWith("--") || at < 0) return optionsOf(command);
    const option = findOption(command, current.slice(0, at));
    if (!option?.required) return NOTHING;
    const values = await valuesOf(metavarOf(option), place, names);
    const prefix = current.slice(0, at + 1);
    return {
      ...values,
      candidates: values.candidates.map((one) => ({ ...one, value: prefix + one.value })),
    };
  }
  if (command.commands.length > 0) return commandsOf(command);
  const parameters = command.registeredArguments;
  const parameter = parameters[operands.length] ??
    (parameters.at(-1)?.variadic ? parameters.at(-1) : undefined);
  const values = await valuesOf(parameter?.name() ?? "", place, names);
  const fresh = values.candidates.filter(({ value }) => !operands.includes(value));
  return { ...values, candidates: fresh };
}

/** Follows the words as the parser does; undefined where nothing of ours can come next. */
async function findPlace(words: readonly string[]): Promise<Place | undefined> {
  let command = (await buildProgram(new Map())).program;
  let awaited: Option | undefined;
  let literal = false;
  let home: string | undefined;
  const operands: string[] = [];
  const names: string[] = [];
  for (const word of words) {
    if (awaited) {
      if (awaited.long === "--home") home = word;
      awaited = undefined;
    } else if (!literal && word === "--") {
      literal = true;
    } else if (!literal && word.length > 1 && word.startsWith("-")) {
      awaited = awaitedAfter(command, word);
      if (word.startsWith("--home=")) home = word.slice("--home=".length);
    } else if (command.commands.length > 0) {
      const next = await loadCommand([...names, word]);
      if (!next) return undefined;
      names.push(word);
      command = next;
    } else {
      operands.push(word);
      // What follows IMAGE or BOX is the box's own command.
      const parameters = command.registeredArguments;
      if (parameters.some((parameter) => parameter.name() === "COMMAND")) return undefined;
    }
  }
  return { command, awaited, operands, literal, home };
}

async function loadCommand(names: readonly string[]): Promise<Command | undefined> {
  if (names[0] === "help") {
    const { program } = await buildProgram(new Map());
    return program.command("help").argument("[COMMANDNAME]");
  }
  const entries = entriesAt(names);
  const entry = entries.at(-1);
  if (!entry || entries.length < names.length) return undefined;
  const module = await entry.load?.();
  const { program } = await buildProgram(module ? new Map([[entry, module]]) : new Map());
  let command: Command | undefined = program;
  for (const { name } of entries) command = command?.commands.find((each) => each.name() === name);
  return command;
}

function findOption(command: Command, flag: string): Option | undefined {
  return command.options.find((option) => option.long === flag || option.short === flag);
}

/** The option whose value is the word after `word`, which may be several short ones in one. */
function awaitedAfter(command: Command, word: string): Option | undefined {
  if (word.startsWith("--")) {
    const option = findOption(command, word);
    return option?.required ? option : undefined;
  }
  for (const [index, letter] of [...word.slice(1)].entries()) {
    const option = findOption(command, `-${letter}`);
    if (option?.required) return index === word.length - 2 ? option : undefined;
  }
  return undefined;
}

function optionsOf(command: Command): Completion {
  const candidates: Candidate[] = [];
  for (const option of command.createHelp().visibleOptions(command)) {
    for (const flag of [option.long, option.short]) {
      if (flag) candidates.push({ value: flag, description: option.description });
    }
  }
  return { candidates };
}

function commandsOf(program: Command): Completion {
  return {
    candidates: program.createHelp().visibleCommands(program).map((command) => ({
      value: command.name(),
      description: command.summary() || command.description(),
    })),
  };
}

function metavarOf(option: Option): string {
  return /<([^>]+)>/.exec(option.flags)?.[1] ?? "";
}

/** The words that a placeholder of usage texts stands for. */
async function valuesOf(
  metavar: string,
  { home, operands }: Place,
  names: NameSource,
): Promise<Completion> {
  switch (metavar) {
    case "BOX":
      return { candidates: await names.boxes(home) };
    case "PLACE": {
      const boxes = await names.boxes(home);
      return {
        candidates: boxes.map((box) => ({ ...box, value: `${box.value}:` })),
        paths: "files",
      };
    }
    case "IMAGE":
      return { candidates: await names.images(home) };
    case "SNAPSHOT":
      return { candidates: await names.snapshots(home, operands[0] ?? "") };
    case "FILE":
      return { candidates: [], paths: "files" };
    case "DIR":
      return { candidates: [], paths: "folders" };
    case "ENGINE":
      return { candidates: wordsOf("auto", "libkrun", "qemu") };
    case "POLICY":
      return { candidates: wordsOf(...PULL_POLICIES) };
    case "FORMAT":
      return { candidates: wordsOf(...ARCHIVE_FORMATS) };
    case "ORDER":
      return { candidates: wordsOf(...SORTS) };
    case "TYPE":
      return { candidates: wordsOf(...EVENT_TYPES) };
    case "SHELL":
      return { candidates: wordsOf("bash", "fish", "zsh") };
    case "COMMANDNAME":
      return commandsOf((await buildProgram(new Map())).program);
    default:
      return NOTHING;
  }
}

function wordsOf(...values: string[]): Candidate[] {
  return values.map((value) => ({ value, description: "" }));
}
