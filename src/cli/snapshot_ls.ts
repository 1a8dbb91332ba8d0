/**
 * `hutch snapshot ls`.
 *
 * @module
 */
import type { SnapshotInfo } from "../box/snapshot_options.ts";
import type { Command } from "../deps.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, formatDuration, formatTable, printable } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { getBox } from "./session.ts";

interface Flags {
  readonly quiet?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command.usage("[options] BOX")
    .argument("<BOX>", "name, id or unique beginning of an id")
    .option("-q, --quiet", "names alone")
    .option("--json", "an array of all that is known");
}

/** Lists the snapshots of a box, the oldest first. */
export async function run({ command, args: [word = ""], io, open }: Invocation): Promise<number> {
  const { quiet, json } = command.opts<Flags>();
  await using runtime = await open();
  const snapshots = await (await getBox(runtime, word)).snapshots.list();
  if (json) await printJson(io.stdout, "snapshot ls", snapshots);
  else if (quiet) await print(io.stdout, snapshots.map(({ name }) => `${name}\n`).join(""));
  else await print(io.stdout, formatSnapshots(snapshots, Date.now()));
  return 0;
}

/** The table that `ls` prints, as seen at `now` (`ms` since 1970). */
export function formatSnapshots(snapshots: readonly SnapshotInfo[], now: number): string {
  return formatTable(
    ["NAME", "CREATED", "SIZE", "MEMORY", "CONSISTENCY", "LABELS"],
    snapshots.map(({ name, createdAt, bytes, memory, memoryBytes, consistency, labels }) => [
      name,
      `${formatDuration(now - Date.parse(createdAt))} ago`,
      formatBytes(bytes),
      memory ? formatBytes(memoryBytes) : "-",
      consistency,
      printable(Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(", ")) || "-",
    ]),
  );
}
