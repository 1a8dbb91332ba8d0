/**
 * `hutch volume ls`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { VolumeInfo } from "../runtime/volumes.ts";
import type { Invocation } from "./command.ts";
import { formatDuration, formatMiB, formatTable, printable } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { collect } from "./values.ts";
import { labelFilters } from "./volume_filters.ts";

interface Flags {
  readonly quiet?: boolean;
  readonly json?: boolean;
  readonly filter?: readonly string[];
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("-q, --quiet", "names alone")
    .option("--json", "an array of all that is known")
    .option(
      "--filter <KEY=VALUE>",
      "only volumes with label=KEY or label=KEY=VALUE (repeatable)",
      collect,
    );
}

/** Lists the named volumes. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const { quiet, json, filter = [] } = command.opts<Flags>();
  const labels = labelFilters(filter);
  await using runtime = await open();
  const volumes = await runtime.volumes.list({ labels });
  if (json) await printJson(io.stdout, "volume ls", volumes);
  else if (quiet) await print(io.stdout, volumes.map(({ name }) => `${name}\n`).join(""));
  else await print(io.stdout, formatVolumes(volumes, Date.now()));
  return 0;
}

/** The table that `ls` prints, as seen at `now` (`ms` since 1970). */
export function formatVolumes(volumes: readonly VolumeInfo[], now: number): string {
  return formatTable(
    ["NAME", "CREATED", "LIMIT", "BOXES"],
    volumes.map(({ name, createdAt, sizeMiB, boxes }) => [
      name,
      `${formatDuration(now - Date.parse(createdAt))} ago`,
      sizeMiB === null ? "-" : formatMiB(sizeMiB),
      boxes.map((box) => printable(box.name)).join(", ") || "-",
    ]),
  );
}
