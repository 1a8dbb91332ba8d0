/**
 * `hutch image prune`.
 *
 * @module
 */
import type { Command } from "../deps.ts";
import type { ImagePruneReport } from "../images/manage/prune.ts";
import type { Invocation } from "./command.ts";
import { formatBytes, printable, shortReference } from "./format.ts";
import { print } from "./io.ts";
import { printJson } from "./json.ts";
import { relaySignals } from "./session.ts";

interface Flags {
  readonly all?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Declares arguments and options. */
export function define(command: Command): void {
  command
    .option("-a, --all", "images that have names but no boxes, too")
    .option("-n, --dry-run", "show what would go, and remove nothing")
    .option("--json", "an object with all that was removed");
}

/** Removes what nothing refers to, and says how many bytes came back. */
export async function run({ command, io, open }: Invocation): Promise<number> {
  const { all, dryRun, json } = command.opts<Flags>();
  using signals = relaySignals(io);
  await using runtime = await open();
  try {
    const report = await runtime.images.prune({
      all: all === true,
      dryRun: dryRun === true,
      signal: signals.signal,
    });
    if (json) await printJson(io.stdout, "image prune", report);
    else await print(io.stdout, formatPrune(report, dryRun === true));
    if (report.busy) {
      await print(io.stderr, "hutch: another program is choosing its images: try again later\n");
    }
    return 0;
  } catch (error) {
    throw signals.explain(error);
  }
}

/** What `prune` prints. */
export function formatPrune(report: ImagePruneReport, dryRun: boolean): string {
  const { images, blobs, disks, downloads, bytes } = report;
  const lines = images.flatMap(({ digest, references }) => [
    ...references.map((each) => `Untagged: ${printable(shortReference(each))}`),
    `Removed: ${digest}`,
  ]);
  const files = [
    count(blobs, "blob"),
    count(disks, "base disk"),
    count(downloads, "unfinished download"),
  ].filter((text) => text !== "");
  const what = files.length === 0 ? "" : ` (${files.join(", ")})`;
  const last = `${dryRun ? "Would come back" : "Came back"}: ${formatBytes(bytes)}${what}`;
  return [...lines, last].map((line) => `${line}\n`).join("");
}

function count(number: number, what: string): string {
  return number === 0 ? "" : `${number} ${what}${number === 1 ? "" : "s"}`;
}
