/**
 * `hutch image history`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { ImageHistoryEntry } from "../images/manage/details.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, formatDuration, formatTable } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";

interface Flags {
  readonly json?: boolean;
  readonly trunc?: boolean;
}

/** Longest step that is shown, in characters. */
const SHOWN = 60;

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] IMAGE")
    .argument("<IMAGE>", "name, digest or unique beginning of a digest")
    .option("--json", "an array of all that is known, the first step first")
    .option("--no-trunc", "whole steps");
}

/** Prints how an image was made, the last step first. */
export async function run({ command, args: [image = ""], io, open }: Invocation): Promise<number> {
  const { json, trunc } = command.opts<Flags>();
  await using runtime = await open();
  const steps = await runtime.images.history(image);
  if (json) await printJson(io.stdout, "image history", steps);
  else {
    const limit = trunc === false ? Infinity : SHOWN;
    await print(io.stdout, formatHistory(steps, { now: Date.now(), limit }));
  }
  return 0;
}

/** The table that `history` prints, as seen at `now` (`ms` since 1970). */
export function formatHistory(
  steps: readonly ImageHistoryEntry[],
  { now, limit }: { readonly now: number; readonly limit: number },
): string {
  return formatTable(
    ["CREATED", "CREATED BY", "SIZE", "COMMENT"],
    steps.toReversed().map(({ created, createdBy, comment, layer }) => [
      formatAge(created, now),
      cut((createdBy ?? "<missing>").replaceAll(/\s+/g, " "), limit),
      layer === null ? "0 B" : formatBytes(layer.size),
      cut(comment ?? "", limit),
    ]),
  );
}

function formatAge(created: string | null, now: number): string {
  const at = created === null ? NaN : Date.parse(created);
  return Number.isNaN(at) ? "" : `${formatDuration(now - at)} ago`;
}

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}
