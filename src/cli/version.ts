/**
 * `hutch version`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { VERSION } from "../version.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";

interface Flags {
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.option("--json", 'print {"hutch", "deno", "os", "arch"}');
}

/** Prints hutch's and Deno's versions. */
export async function run({ command, io }: Invocation): Promise<number> {
  const { os, arch } = Deno.build;
  if (command.opts<Flags>().json) {
    await printJson(io.stdout, "version", { hutch: VERSION, deno: Deno.version.deno, os, arch });
  } else {
    await print(io.stdout, `hutch ${VERSION}\ndeno ${Deno.version.deno} (${os} ${arch})\n`);
  }
  return 0;
}
