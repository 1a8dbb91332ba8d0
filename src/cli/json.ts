/**
 * What commands print with `--json`.
 *
 * @module
 */
import type { LeftOut } from "../box/archive/config.ts";
import type { ExecutionInfo } from "../box/box_execution.ts";
import type { CommitResult } from "../box/commit.ts";
import type { LogEntry } from "../box/logs.ts";
import type { BoxMetrics } from "../box/metrics.ts";
import type { BoxInfo, BoxStatus } from "../box/options.ts";
import type {
  SnapshotCreated,
  SnapshotDiff,
  SnapshotInfo,
  SnapshotRestored,
} from "../box/snapshot_options.ts";
import type { ImageDetails, ImageHistoryEntry } from "../images/manage/details.ts";
import type { LoadedImage } from "../images/manage/load.ts";
import type { ImagePruneReport } from "../images/manage/prune.ts";
import type { PushReport } from "../images/manage/push.ts";
import type { RemovedImage } from "../images/manage/remove.ts";
import type { ImageSummary } from "../images/manage/manage.ts";
import type { ImageRecord } from "../images/records.ts";
import type { PublishedPort } from "../network/ports.ts";
import type { DoctorReport } from "../runtime/doctor.ts";
import type { RuntimeMetrics } from "../runtime/metrics.ts";
import type { RepairReport } from "../runtime/repair.ts";
import type { EventGap } from "../runtime/events.ts";
import type { RecordedEvent } from "../state/events.ts";
import type { VolumeInfo, VolumePruneReport } from "../runtime/volumes.ts";
import { type ByteSink, print } from "./io.ts";

/** What `hutch stats --json` prints. */
export interface Stats {
  /** Of the boxes that were named, else of those that run. */
  readonly boxes: readonly BoxMetrics[];
  /** Of the whole home, boxes that aren't shown and boxes that were removed included. */
  readonly runtime: RuntimeMetrics;
}

/** How a box ended, as `hutch wait --json` prints it. */
export interface BoxEnd {
  /** The word that named the box. */
  readonly box: string;
  /** `removed` for one that went with its end. */
  readonly status: BoxStatus | "removed";
  /** Its main command's exit code, if it had one that ended. */
  readonly exitCode: number | null;
  /** Why, unless it was asked to. */
  readonly reason: string | null;
}

/**
 * What each command prints with `--json` (those that inspect print nothing else): one document, or of
 * those named `… (line)` one a line for each thing. Numbers have the unit in their name; times are ISO
 * 8601 texts; what isn't known is null. New fields may come; those that are here stay what they are.
 * With an exit code other than 0 what is printed is what was done until then, and may be nothing.
 *
 * @example
 * ```ts
 * import type { JsonOutput } from "@hutch/hutch";
 * const printed = '[{"name": "data"}]'; // by hutch volume ls --json
 * const volumes: JsonOutput["volume ls"] = JSON.parse(printed);
 * console.log(volumes[0]?.name); // data
 * ```
 */
export interface JsonOutput {
  /** The clones. */
  readonly "clone": readonly BoxInfo[];
  /** The image. */
  readonly "commit": CommitResult;
  /** The box. */
  readonly "create": BoxInfo;
  /** What is here and what is missing. */
  readonly "doctor": DoctorReport;
  /** What was restored, and what not. */
  readonly "doctor --repair": RepairReport;
  /** An event, or how many were lost. */
  readonly "events (line)": RecordedEvent | EventGap;
  /** The main command and detached ones, those that ended too. */
  readonly "executions": readonly ExecutionInfo[];
  /** Its steps, the first first. */
  readonly "image history": readonly ImageHistoryEntry[];
  /** An array where several are asked for. */
  readonly "image inspect": ImageDetails | readonly ImageDetails[];
  /** What was in the file. */
  readonly "image load": readonly LoadedImage[];
  /** What was removed, or would be. */
  readonly "image prune": ImagePruneReport;
  /** What was removed, or kept. */
  readonly "image rm": readonly RemovedImage[];
  /** Those that are here. */
  readonly "images": readonly ImageSummary[];
  /** The box, and what of it stayed behind. */
  readonly "import": { readonly box: BoxInfo; readonly leftOut: readonly LeftOut[] };
  /** An array where several are asked for. */
  readonly "inspect": BoxInfo | readonly BoxInfo[];
  /** A piece of what was said. */
  readonly "logs (line)": Pick<LogEntry, "source" | "stream" | "text"> & { readonly time: string };
  /** Those that run, or all. */
  readonly "ls": readonly BoxInfo[];
  /** The ports that were opened. */
  readonly "publish": readonly PublishedPort[];
  /** What is here now. */
  readonly "pull": ImageRecord;
  /** What was sent, and what was there. */
  readonly "push": PushReport;
  /** The box. */
  readonly "rename": BoxInfo;
  /** The snapshot. */
  readonly "snapshot create": SnapshotCreated;
  /** How much differs. */
  readonly "snapshot diff": SnapshotDiff;
  /** Those of the box, the oldest first. */
  readonly "snapshot ls": readonly SnapshotInfo[];
  /** What was done. */
  readonly "snapshot restore": SnapshotRestored;
  /** Names. */
  readonly "snapshot rm": readonly string[];
  /** What boxes use. */
  readonly "stats": Stats;
  /** The versions, and what they run on. */
  readonly "version": Readonly<Record<"hutch" | "deno" | "os" | "arch", string>>;
  /** The volume. */
  readonly "volume create": VolumeInfo;
  /** An array where several are asked for. */
  readonly "volume inspect": VolumeInfo | readonly VolumeInfo[];
  /** Named volumes. */
  readonly "volume ls": readonly VolumeInfo[];
  /** What was removed, or would be. */
  readonly "volume prune": VolumePruneReport;
  /** Names. */
  readonly "volume rm": readonly string[];
  /** As each ends. */
  readonly "wait (line)": BoxEnd;
}

/** Names of those that print lines. */
type Lines = Extract<keyof JsonOutput, `${string} (line)`>;

/** Writes what a command prints, as indented JSON. */
export function printJson<Name extends Exclude<keyof JsonOutput, Lines>>(
  sink: ByteSink,
  _command: Name,
  value: JsonOutput[Name],
): Promise<void> {
  return print(sink, `${escapeControls(JSON.stringify(value, null, 2))}\n`);
}

/** Writes one thing that a command prints, as JSON on a line of its own. */
export function printJsonLine<Name extends Lines>(
  sink: ByteSink,
  _command: Name,
  value: JsonOutput[Name],
): Promise<void> {
  return print(sink, `${escapeControls(JSON.stringify(value))}\n`);
}

/** JSON.stringify leaves C1 controls as they are, and terminals may obey those. */
function escapeControls(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
