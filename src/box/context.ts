/**
 * What boxes share of their runtime.
 *
 * @module
 */
import type { Box } from "./box.ts";
import type { ImageManager } from "../images/manage/manage.ts";
import type { ImageStore } from "../images/store.ts";
import type { BoxConfig } from "./options.ts";
import type { Keepers } from "./keepers.ts";
import type { RequestDoor } from "../network/request_door.ts";
import type { PluginHost } from "../plugin/host.ts";
import type { Paths } from "../runtime/paths.ts";
import type { BoxRecords } from "../state/boxes.ts";
import type { DetachedCommands } from "../state/detached.ts";
import type { DiskTable } from "../state/disks.ts";
import type { Keepings } from "../state/keepings.ts";
import type { StartContext } from "../init/context.ts";
import type { CounterReader } from "./metrics.ts";

/** One runtime, as its boxes see it. */
export interface BoxContext
  extends Pick<StartContext, "authority" | "baseDisk" | "system" | "engines" | "kvm" | "preboot"> {
  readonly paths: Paths;
  readonly records: BoxRecords;
  readonly disks: DiskTable;
  readonly detached: DetachedCommands;
  readonly keepings: Keepings;
  readonly keepers: Keepers;
  readonly plugins: PluginHost;
  readonly images: ImageStore;
  readonly imageManager: ImageManager;
  readonly counters: CounterReader;
  /** Where this program hears of requests that its plugins' hooks decide about. */
  readonly door: RequestDoor;
  /** Values of secrets that this program gave boxes, by their ids; nowhere else. */
  readonly secretValues: Map<string, ReadonlyMap<string, string>>;
  /** The chain of a box's disk, which may be long, is made shorter behind everybody's back. */
  readonly shorten: (box: string) => void;
  /** The box with an id, if this program holds it. */
  readonly boxOf: (id: string) => Box | undefined;
  /** The box of a configuration that was just recorded, held by this program from now on. */
  readonly adopt: (config: BoxConfig, detached: boolean) => Box;
  /** This program doesn't hold it any more. */
  readonly forget: (box: Box) => void;
  /** The host's boot id; empty where there is none. */
  readonly bootId: string;
  /** Aborted when the runtime closes. */
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}
