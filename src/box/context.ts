/**
 * What boxes share of their runtime.
 *
 * @module
 */
import type { PluginHost } from "../plugin/host.ts";
import type { Paths } from "../runtime/paths.ts";
import type { BoxRecords } from "../state/boxes.ts";
import type { StartContext } from "../init/context.ts";

/** One runtime, as its boxes see it. */
export interface BoxContext extends Pick<StartContext, "baseDisk" | "system" | "engines" | "kvm"> {
  readonly paths: Paths;
  readonly records: BoxRecords;
  readonly plugins: PluginHost;
  /** The host's boot id; empty where there is none. */
  readonly bootId: string;
  /** Aborted when the runtime closes. */
  readonly signal: AbortSignal;
  readonly log: (line: string) => void;
}
