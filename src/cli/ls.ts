/**
 * `hutch ls`.
 *
 * @module
 */
import type { BoxInfo } from "../box/options.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import { formatDuration, formatMiB, formatTable, shortReference } from "./format.ts";
import { print, printJson } from "./io.ts";
import { collect } from "./values.ts";

interface Flags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly filter?: readonly string[];
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("-a, --all", "boxes that don't run, too")
    .option("-q, --quiet", "ids alone")
    .option("--json", "an array of what `hutch inspect` prints")
    .option(
      "--filter <KEY=VALUE>",
      "only boxes with label=KEY, label=KEY=VALUE (repeatable)",
      collect,
    );
}

/** Lists boxes. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const flags = command.opts<Flags>();
  const { labels, keys } = parseFilters(flags.filter ?? []);
  await using runtime = await open();
  const boxes = (await runtime.list({ all: flags.all === true, labels }))
    .filter((box) => keys.every((key) => Object.hasOwn(box.config.labels, key)));
  if (flags.json) await printJson(io.stdout, boxes);
  else if (flags.quiet) await print(io.stdout, boxes.map((box) => `${box.id}\n`).join(""));
  else await print(io.stdout, formatBoxes(boxes, Date.now()));
  return 0;
}

/** Reads `--filter`: labels with a value, and keys whose value doesn't matter. */
export function parseFilters(
  filters: readonly string[],
): { labels: Record<string, string>; keys: string[] } {
  const labels: [string, string][] = [];
  const keys: string[] = [];
  for (const filter of filters) {
    const match = /^label=([^=]+)(?:=(.*))?$/s.exec(filter);
    if (!match) {
      throw new HutchError(
        "invalid_option",
        `Cannot read --filter: ${JSON.stringify(filter)} is not a filter`,
        { hint: "write label=KEY or label=KEY=VALUE" },
      );
    }
    const [, key = "", value] = match;
    if (value === undefined) keys.push(key);
    else labels.push([key, value]);
  }
  return { labels: Object.fromEntries(labels), keys };
}

/** The table that `ls` prints, as seen at `now` (`ms` since 1970). */
export function formatBoxes(boxes: readonly BoxInfo[], now: number): string {
  return formatTable(
    ["ID", "NAME", "IMAGE", "STATUS", "CPUS", "MEMORY", "ENGINE"],
    boxes.map((box) => [
      box.id,
      box.name,
      shortReference(box.config.image.reference),
      formatStatus(box, now),
      String(box.config.cpus),
      formatMiB(box.config.memoryMiB),
      box.engine ?? box.config.engine,
    ]),
  );
}

/** `running 5 minutes`, `stopped 2 hours ago`. */
export function formatStatus(box: BoxInfo, now: number): string {
  const lasting = box.status === "running" || box.status === "starting" ||
    box.status === "stopping";
  const since = lasting
    ? box.startedAt
    : box.status === "configured"
    ? box.config.createdAt
    : box.stoppedAt ?? box.startedAt ?? box.config.createdAt;
  const at = since === null ? NaN : Date.parse(since);
  if (Number.isNaN(at)) return box.status;
  const age = formatDuration(now - at);
  return lasting ? `${box.status} ${age}` : `${box.status} ${age} ago`;
}
