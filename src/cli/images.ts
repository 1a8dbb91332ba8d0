/**
 * `hutch images`, `hutch image ls`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { ImageListOptions, ImageSummary } from "../images/manage/manage.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, formatDuration, formatTable, short, shortReference } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { collect } from "./values.ts";

interface Flags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly digests?: boolean;
  readonly json?: boolean;
  readonly filter?: readonly string[];
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("-a, --all", "images without a name, too")
    .option("-q, --quiet", "digests alone")
    .option("--digests", "whole digests")
    .option("--json", "an array of all that is known")
    .option(
      "--filter <KEY=VALUE>",
      "only images with reference=PATTERN, label=KEY or label=KEY=VALUE (repeatable)",
      collect,
    );
}

/** Lists the images that are here. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const { all, quiet, digests, json, filter = [] } = command.opts<Flags>();
  const options = { ...parseFilters(filter), all: all === true };
  await using runtime = await open();
  const images = await runtime.images.list(options);
  if (json) await printJson(io.stdout, "images", images);
  else if (quiet) {
    const lines = new Set(images.map(({ digest }) => `${digest}\n`));
    await print(io.stdout, [...lines].join(""));
  } else await print(io.stdout, formatImages(images, { now: Date.now(), whole: digests === true }));
  return 0;
}

/** Reads `--filter`: all of them count. */
export function parseFilters(
  filters: readonly string[],
): Pick<ImageListOptions, "reference" | "labels"> {
  const labels: [string, string | true][] = [];
  let reference: string | undefined;
  for (const filter of filters) {
    const [, kind, value = ""] = /^(label|reference)=(.+)$/s.exec(filter) ?? [];
    if (kind === "label" && !value.startsWith("=")) {
      const at = value.indexOf("=");
      labels.push(at < 0 ? [value, true] : [value.slice(0, at), value.slice(at + 1)]);
    } else if (kind === "reference" && reference === undefined) {
      reference = value;
    } else {
      throw new HutchError(
        "invalid_option",
        `Cannot read --filter: ${JSON.stringify(filter)} is ${
          kind === "reference" ? "a second pattern" : "not a filter"
        }`,
        { hint: "write reference=PATTERN, label=KEY or label=KEY=VALUE" },
      );
    }
  }
  return {
    ...labels.length > 0 ? { labels: Object.fromEntries(labels) } : {},
    ...reference === undefined ? {} : { reference },
  };
}

/** The table that `images` prints, as seen at `now` (`ms` since 1970). */
export function formatImages(
  images: readonly ImageSummary[],
  { now, whole = false }: { readonly now: number; readonly whole?: boolean },
): string {
  return formatTable(
    ["IMAGE", "DIGEST", "PULLED", "SIZE", "BOXES"],
    images.map(({ reference, digest, pulledAt, size, boxes }) => [
      reference === digest ? "<none>" : shortReference(reference),
      whole ? digest : short(digest),
      `${formatDuration(now - Date.parse(pulledAt))} ago`,
      formatBytes(size),
      String(boxes),
    ]),
  );
}
