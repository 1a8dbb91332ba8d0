/**
 * What a command of the command line is.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { CliIo } from "./io.ts";

/** Options that every command takes. */
export interface GlobalFlags {
  /** Home folder, absolute; undefined for the default one. */
  readonly home: string | undefined;
  /** Registries, `host[:port]`, that may be spoken to without TLS. */
  readonly insecureRegistries: readonly string[];
  /** Specifiers of modules with plugins, as they were typed. */
  readonly plugins: readonly string[];
  /** The configuration file; false for none, undefined for the one that a search finds. */
  readonly config: string | false | undefined;
  /** Whether to show causes, stacks and what the runtime logs. */
  readonly debug: boolean;
}

/** A parsed command line, ready to be run. */
export interface Invocation {
  /** Holds the options: `command.opts<Flags>()`. */
  readonly command: Command;
  /** Operands, those that belong to the box's command included. */
  readonly args: readonly string[];
  readonly globals: GlobalFlags;
  readonly io: CliIo;
  /** Opens the runtime in the home asked for. */
  open(): Promise<Runtime>;
}

/** A command's module: its default-less exports `define` and `run`. */
export interface CommandModule {
  /** Declares arguments and options, without side effects: help and completion read them. */
  define(command: Command): void;
  /** Runs it and gives hutch's exit code. */
  run(invocation: Invocation): Promise<number>;
}

/** A command as the program lists it, before its module is loaded. */
export interface CommandEntry {
  readonly name: string;
  readonly aliases?: readonly string[];
  /** One line for `hutch --help`. */
  readonly summary: string;
  /** Not in help: for scripts of ours. */
  readonly hidden?: boolean;
  /** Of a group, such as `image`: what its next word may be. */
  readonly commands?: readonly CommandEntry[];
  /** Absent in a group. */
  readonly load?: () => Promise<CommandModule>;
}
