/**
 * `hutch completion`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { SCRIPTS } from "./completion_scripts.ts";
import { print } from "./io.ts";

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] bash|zsh|fish").argument("<SHELL>", "bash, zsh or fish")
    .addHelpText(
      "after",
      `
bash: put into ~/.bashrc                     source <(hutch completion bash)
zsh:  put into ~/.zshrc, after compinit      source <(hutch completion zsh)
fish: run once                               hutch completion fish > ~/.config/fish/completions/hutch.fish`,
    );
}

/** Prints the script of a shell. */
export async function run({ args: [shell = ""], io }: Invocation): Promise<number> {
  const script = SCRIPTS.get(shell);
  if (script === undefined) {
    throw new HutchError(
      "invalid_option",
      `Cannot complete in ${JSON.stringify(shell)}: it is not a shell that hutch knows`,
      { hint: "choose bash, zsh or fish" },
    );
  }
  await print(io.stdout, script);
  return 0;
}
