/**
 * `hutch volume prune`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { collect } from "./values.ts";
import { labelFilters } from "./volume_filters.ts";

interface Flags {
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly filter?: readonly string[];
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("-n, --dry-run", "show what would go, and remove nothing")
    .option("--json", "an object with the names of what was removed")
    .option(
      "--filter <KEY=VALUE>",
      "only volumes with label=KEY or label=KEY=VALUE (repeatable)",
      collect,
    );
}

/** Removes the volumes that no box has, and prints their names. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const { dryRun, json, filter = [] } = command.opts<Flags>();
  const labels = labelFilters(filter);
  await using runtime = await open();
  const report = await runtime.volumes.prune({ labels, dryRun: dryRun === true });
  if (json) await printJson(io.stdout, "volume prune", report);
  else await print(io.stdout, report.volumes.map((name) => `${name}\n`).join(""));
  return 0;
}
