/**
 * `hutch import`.
 *
 * @module
 */
import type { Imported } from "../box/archive/import.ts";
import { parseSizeMiB } from "../box/size.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { withByteProgress } from "./byte_progress.ts";
import type { Invocation } from "./command.ts";
import { print, streamFrom } from "./io.ts";
import { printJson } from "./json.ts";
import { relaySignals, withRuntime } from "./session.ts";

interface Flags {
  readonly name?: string;
  readonly trust?: boolean;
  readonly keepIdentity?: boolean;
  readonly pull: boolean;
  readonly maxBytes?: number;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] [FILE]")
    .argument("[FILE]", "what hutch export wrote, or - for standard input (default: -)")
    .option("--name <NAME>", "name of the box (default: the one that it had)")
    .option(
      "--trust",
      "keep what reaches this machine, such as volumes and ports: for archives of your own",
    )
    .option("--keep-identity", "keep its machine id and SSH host keys: for a box that moves here")
    .option("--no-pull", "don't pull the image when it is neither here nor in the archive")
    .option(
      "--max-bytes <SIZE>",
      "most data of its disk, such as 100g (default: 64g)",
      (text: string) => parseSizeMiB(text, "--max-bytes") * 2 ** 20,
    )
    .option("-q, --quiet", "don't show how it goes")
    .option("--json", "an object with the box, and what stayed behind");
}

/** Makes a box of an archive, and prints its id. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [file = "-"], io } = invocation;
  const { quiet, json, name, trust = false, keepIdentity = false, pull, maxBytes } = command
    .opts<Flags>();
  if (file === "-" && io.stdin.isTerminal?.()) {
    throw new HutchError("invalid_option", "Cannot import a box: standard input is a terminal", {
      hint: "name a file, or redirect the input",
    });
  }
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const from = file === "-" ? streamFrom(io.stdin) : file;
      const { box, leftOut } = await withByteProgress(io, {
        quiet,
        verb: "Importing",
        outcome: ({ box }: Imported) => `Imported ${box.name}`,
      }, (onProgress) =>
        runtime.import(from, {
          trust,
          keepIdentity,
          pull,
          signal: signals.signal,
          onProgress,
          ...name === undefined ? {} : { name },
          ...maxBytes === undefined ? {} : { maxBytes },
        }));
      if (leftOut.length > 0) {
        const what = leftOut.join(", ");
        await print(io.stderr, `hutch: ${what} of the box stayed behind (--trust keeps them)\n`);
      }
      if (json) await printJson(io.stdout, "import", { box: await box.info(), leftOut });
      else await print(io.stdout, `${box.id}\n`);
      return 0;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
