/**
 * `hutch cp`.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { Copy } from "../box/copy.ts";
import type { CopyOptions } from "../box/copy_options.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { watchCopy } from "./copy_progress.ts";
import { type CliIo, streamFrom, streamTo } from "./io.ts";
import { getBox, relaySignals, withRuntime } from "./session.ts";

interface Flags {
  readonly archive?: boolean;
  readonly followLink?: boolean;
  readonly quiet?: boolean;
}

/** An end of a copy: a path, here or in a box; `-` is a tar stream of ours. */
export interface Place {
  readonly box: string | undefined;
  readonly path: string;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage(
    "[options] SRC DST, one of them BOX:PATH, the other a path here or - for a tar stream",
  )
    .argument("<PLACE>", "what to copy: BOX:PATH, a path here, or - (a tar on standard input)")
    .argument("<PLACE>", "where to: BOX:PATH, a path here, or - (a tar on standard output)")
    .option("-a, --archive", "keep owners (out of a box only as root)")
    .option("-L, --follow-link", "copy what symlinks lead to")
    .option("-q, --quiet", "don't show how it goes");
}

/** Copies; its rules for folders and slashes are those of `docker cp`. */
export async function run(invocation: Invocation): Promise<number> {
  const { command, args: [from = "", to = ""], io } = invocation;
  const flags = command.opts<Flags>();
  const [source, destination] = placesOf(from, to, io);
  using signals = relaySignals(io);
  try {
    return await withRuntime(invocation, async (runtime) => {
      const box = await getBox(runtime, source.box ?? destination.box ?? "");
      await box.start({ detached: true, signal: signals.signal });
      signals.throwIfInterrupted();
      const options = { ...optionsOf(flags, source, destination), signal: signals.signal };
      await using copy = begin(box, source, destination, { options, io });
      await watchCopy(copy, io, flags);
      return 0;
    });
  } catch (error) {
    throw signals.explain(error);
  }
}

function begin(
  box: Box,
  source: Place,
  destination: Place,
  { options, io }: { readonly options: CopyOptions; readonly io: CliIo },
): Copy {
  if (destination.box !== undefined) {
    return box.copyIn(
      source.path === "-" ? streamFrom(io.stdin) : source.path,
      destination.path,
      options,
    );
  }
  return box.copyOut(
    source.path,
    destination.path === "-" ? streamTo(io.stdout) : destination.path,
    options,
  );
}

function optionsOf(flags: Flags, source: Place, destination: Place): CopyOptions {
  const stream = isStream(source) || isStream(destination);
  // As cp does: who isn't root can give files to nobody.
  const keep = flags.archive && (destination.box !== undefined || Deno.uid() === 0);
  const followSymlinks = flags.followLink ?? false;
  if (stream) {
    return {
      makeParents: false,
      ...isStream(source) ? { ...keep ? { preserve: { owner: "keep" } } : {} } : { followSymlinks },
    };
  }
  return {
    makeParents: false,
    followSymlinks,
    includeParent: /(^|\/)\.$/.test(source.path) ? false : "existing",
    ...keep ? { preserve: { owner: "keep" } } : {},
  };
}

/** Reads both ends. Throws `invalid_option` unless exactly one of them is in a box. */
export function placesOf(
  from: string,
  to: string,
  io: Pick<CliIo, "stdin" | "stdout">,
): [Place, Place] {
  const [source, destination] = [placeOf(from), placeOf(to)];
  if (source.box !== undefined && destination.box !== undefined) {
    refuse("both are in boxes", "take `hutch cp BOX:PATH - | hutch cp - BOX:PATH`");
  }
  if (source.box === undefined && destination.box === undefined) {
    refuse("neither is in a box", "write BOX:PATH for one of them");
  }
  for (const { box, path } of [source, destination]) {
    if (path === "") {
      refuse(
        box === undefined ? "a path is empty" : `box ${box}'s path is empty`,
        "write BOX:PATH",
      );
    }
  }
  if (isStream(source) && io.stdin.isTerminal?.()) {
    refuse("standard input is a terminal", "redirect the input");
  }
  if (isStream(destination) && io.stdout.isTerminal()) {
    refuse("standard output is a terminal", "redirect the output");
  }
  return [source, destination];
}

function isStream({ box, path }: Place): boolean {
  return box === undefined && path === "-";
}

/** What has a slash or a dot before its first colon is a path here. */
function placeOf(text: string): Place {
  const [, box, path = ""] = /^([^/.:][^/:]*):(.*)$/s.exec(text) ?? [];
  return box === undefined ? { box, path: text } : { box, path };
}

function refuse(problem: string, hint: string): never {
  throw new HutchError("invalid_option", `Cannot copy: ${problem}`, { hint });
}
