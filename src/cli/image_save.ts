/**
 * `hutch image save`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import { ARCHIVE_FORMATS, type ArchiveFormat } from "../images/manage/archive.ts";
import type { Invocation } from "./command.ts";
import { streamTo } from "./io.ts";
import { relaySignals } from "./session.ts";
import { parseChoice } from "./values.ts";

interface Flags {
  readonly output?: string;
  readonly format?: ArchiveFormat;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE...")
    .argument("<IMAGE...>", "names, digests or unique beginnings of digests")
    .option("-o, --output <FILE>", "write to FILE (default: standard output)")
    .option(
      "--format <FORMAT>",
      "oci (an OCI image layout) or docker-archive (what docker save writes) (default: oci)",
      (text: string) => parseChoice(text, ARCHIVE_FORMATS, "--format"),
    );
}

/** Writes images into one tar file. */
export async function run({ command, args, io, open }: Invocation): Promise<number> {
  const { output, format } = command.opts<Flags>();
  if (output === undefined && io.stdout.isTerminal()) {
    throw new HutchError("invalid_option", "Cannot save images: standard output is a terminal", {
      hint: "name a file (-o FILE), or redirect the output",
    });
  }
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    await runtime.images.save(args, {
      to: output ?? streamTo(io.stdout),
      signal: signals.signal,
      ...format === undefined ? {} : { format },
    });
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}
