/**
 * `hutch ls`.
 *
 * @module
 */
import type { BoxInfo, BoxStatus } from "../box/options.ts";
import type { Command } from "../deps.ts";
import { HutchError } from "../errors.ts";
import type { Invocation } from "./command.ts";
import type { BoxSort, DamagedBox, ListOptions } from "../runtime/list.ts";
import { SORTS, STATUSES } from "../state/box_list.ts";
import { ACTIVE } from "../state/boxes.ts";
import { formatDuration, formatMiB, formatTable, printable, shortReference } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { collect, parseChoice, parseCount } from "./values.ts";

interface Flags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly filter?: readonly string[];
  readonly sort?: BoxSort;
  readonly reverse?: boolean;
  readonly limit?: number;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("-a, --all", "boxes that don't run, too")
    .option("-q, --quiet", "ids alone")
    .option("--json", "an array of what `hutch inspect` prints")
    .option(
      "--filter <KEY=VALUE>",
      "only boxes with label=KEY, label=KEY=VALUE, status=STATE, name=TEXT or name=PATTERN (repeatable)",
      collect,
    )
    .option(
      "--sort <ORDER>",
      "created, name, status or started (default: created)",
      (text: string) => parseChoice(text, SORTS, "--sort"),
    )
    .option("--reverse", "the other way round")
    .option("--limit <N>", "at most so many", (text: string) => parseCount(text, "--limit"));
}

/** Lists boxes. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const flags = command.opts<Flags>();
  const damaged: DamagedBox[] = [];
  const options: ListOptions = {
    all: flags.all === true,
    ...parseFilters(flags.filter ?? []),
    ...flags.sort === undefined ? {} : { sort: flags.sort },
    ...flags.reverse ? { reverse: true } : {},
    ...flags.limit === undefined ? {} : { limit: flags.limit },
    onDamaged: (box) => damaged.push(box),
  };
  await using runtime = await open();
  const boxes = await runtime.list(options);
  if (flags.json) await printJson(io.stdout, "ls", boxes);
  else if (flags.quiet) await print(io.stdout, boxes.map((box) => `${box.id}\n`).join(""));
  else await print(io.stdout, formatBoxes(boxes, Date.now()));
  for (const box of damaged) await print(io.stderr, formatDamaged(box));
  return 0;
}

function formatDamaged({ id, name, problem }: DamagedBox): string {
  return `hutch: box ${printable(name)} (${printable(id)}) is left out, its record is damaged: ${
    printable(problem)
  }; hutch doctor --repair restores it\n`;
}

/** Reads `--filter`: all labels count, any of the states, one name. */
export function parseFilters(
  filters: readonly string[],
): Pick<ListOptions, "labels" | "status" | "name"> {
  const labels: [string, string | true][] = [];
  const statuses: BoxStatus[] = [];
  let name: string | undefined;
  for (const filter of filters) {
    const [, kind, value = ""] = /^(label|status|name)=(.+)$/s.exec(filter) ?? [];
    if (kind === "label" && !value.startsWith("=")) {
      const at = value.indexOf("=");
      labels.push(at < 0 ? [value, true] : [value.slice(0, at), value.slice(at + 1)]);
    } else if (kind === "status") {
      statuses.push(parseChoice(value, STATUSES, "--filter status"));
    } else if (kind === "name" && name === undefined) {
      name = value;
    } else {
      throw new HutchError(
        "invalid_option",
        `Cannot read --filter: ${JSON.stringify(filter)} is ${
          kind === "name" ? "a second name" : "not a filter"
        }`,
        { hint: "write label=KEY, label=KEY=VALUE, status=STATE or name=TEXT" },
      );
    }
  }
  return {
    ...labels.length > 0 ? { labels: Object.fromEntries(labels) } : {},
    ...statuses.length > 0 ? { status: statuses } : {},
    ...name === undefined ? {} : { name },
  };
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

/**
 * `running 5 minutes`, `running 5 minutes (healthy)`, `stopped 2 hours ago`, `stopped (3) 2 hours ago`
 * with its main command's exit code.
 */
export function formatStatus(box: BoxInfo, now: number): string {
  const lasting = ACTIVE.includes(box.status);
  const since = lasting
    ? box.startedAt
    : box.status === "configured"
    ? box.config.createdAt
    : box.stoppedAt ?? box.startedAt ?? box.config.createdAt;
  const at = since === null ? NaN : Date.parse(since);
  if (Number.isNaN(at)) return box.status;
  const age = formatDuration(now - at);
  const code = box.exitCode === null ? "" : ` (${box.exitCode})`;
  if (!lasting) return `${box.status}${code} ${age} ago`;
  return `${box.status} ${age}${box.health === "none" ? "" : ` (${box.health})`}`;
}
