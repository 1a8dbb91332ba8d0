/**
 * `hutch images`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { ImageRecord } from "../images/records.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, formatDuration, formatTable, shortReference } from "./format.ts";
import { print, printJson } from "./io.ts";
import { short } from "./progress.ts";

interface Flags {
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.option("--json", "an array of all that is known");
}

/** Lists the images that are here. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  await using runtime = await open();
  const images = await runtime.images.list();
  if (command.opts<Flags>().json) await printJson(io.stdout, images);
  else await print(io.stdout, formatImages(images, Date.now()));
  return 0;
}

/** The table that `images` prints, as seen at `now` (`ms` since 1970). */
export function formatImages(images: readonly ImageRecord[], now: number): string {
  return formatTable(
    ["IMAGE", "DIGEST", "PULLED", "SIZE"],
    images.map(({ reference, digest, pulledAt, size }) => [
      shortReference(reference),
      short(digest),
      `${formatDuration(now - Date.parse(pulledAt))} ago`,
      formatBytes(size),
    ]),
  );
}
