/**
 * `hutch export`.
 *
 * @module
 */
import type { ExportResult } from "../box/archive/export.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { withByteProgress } from "./byte_progress.ts";
import type { Invocation } from "./command.ts";
import { formatBytes } from "./format.ts";
import { streamTo } from "./io.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags {
  readonly output?: string;
  readonly image: boolean;
  readonly quiet?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .option("-o, --output <FILE>", "write to FILE, or - for standard output (default: -)")
    .option("--no-image", "leave the image out: who imports the box has or pulls it")
    .option("-q, --quiet", "don't show how it goes");
}

/** Writes a box into one file. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [name = ""], io } = invocation;
  const { output = "-", image, quiet } = command.opts<Flags>();
  if (output === "-" && io.stdout.isTerminal()) {
    throw new HutchError("invalid_option", "Cannot export a box: standard output is a terminal", {
      hint: "name a file (-o FILE), or redirect the output",
    });
  }
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, name);
      const to = output === "-" ? streamTo(io.stdout) : output;
      await withByteProgress(io, {
        quiet,
        verb: "Exporting",
        outcome: ({ bytes, diskBytes }: ExportResult) =>
          `Exported ${box.name}: ${formatBytes(bytes)}, of ${formatBytes(diskBytes)} on its disk`,
      }, (onProgress) => box.export(to, { image, signal: signals.signal, onProgress }));
      return 0;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}
