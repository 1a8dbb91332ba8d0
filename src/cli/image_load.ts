/**
 * `hutch image load`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { printable, shortReference } from "./format.ts";
import { print, streamFrom } from "./io.ts";
import { printJson } from "./json.ts";
import { withProgress } from "./progress.ts";
import { defineProgressFlags, type ProgressFlags } from "./progress_mode.ts";
import { relaySignals } from "./session.ts";

interface Flags extends ProgressFlags {
  readonly input?: string;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.option("-i, --input <FILE>", "read FILE (default: standard input)");
  defineProgressFlags(command);
  command.option("--json", "an array of what was loaded");
}

/** Takes all images out of a file that `hutch image save`, or another tool, wrote. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const { input, json, ...flags } = command.opts<Flags>();
  if (input === undefined && io.stdin.isTerminal?.()) {
    throw new HutchError("invalid_option", "Cannot load images: standard input is a terminal", {
      hint: "name a file (-i FILE), or redirect the input",
    });
  }
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    // Elsewhere than on a terminal the names that come out say enough.
    const shown = { ...flags, elsewhere: "none" } as const;
    const loaded = await withProgress(io, shown, (onProgress) => {
      const { signal } = signals;
      return runtime.images.load(input ?? streamFrom(io.stdin), { signal, onProgress });
    });
    if (json) {
      await printJson(io.stdout, "image load", loaded);
      return 0;
    }
    const lines = loaded.flatMap(({ digest, references }) => {
      if (flags.quiet) return [digest];
      const names = references.map((each) => printable(shortReference(each)));
      return (names.length > 0 ? names : [digest]).map((name) => `Loaded: ${name}`);
    });
    await print(io.stdout, lines.map((line) => `${line}\n`).join(""));
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
