/**
 * What a runtime can be asked to be.
 *
 * @module
 */
import type { ImageLimits } from "../../ffi/helper.ts";
import type { RegistryConfigs } from "../images/registry/registries.ts";
import type { Plugin } from "../plugin/contract.ts";
import type { EventRetention } from "../state/events.ts";
import type { BoxDefaults } from "./config_file.ts";

/** Options of `Runtime.open`. */
export interface RuntimeOptions {
  /** Folder with everything hutch keeps. @default {`HUTCH_HOME`, else `~/.hutch`} */
  readonly home?: string;
  /** Added to hutch's own. */
  readonly plugins?: readonly Plugin[];
  /** Absolute URLs of the modules that the plugins came from, as `loadConfig` gives them. @default {[]} */
  readonly pluginSpecifiers?: readonly string[];
  /** The configuration file in use, as `loadConfig` gives it; for `doctor`. @default {none} */
  readonly configPath?: string;
  /** Options of boxes, under what `create` is told; `env` and `labels` are merged. @default {{}} */
  readonly defaults?: BoxDefaults;
  /** How registries are spoken to, by their names; paths count from the working folder. @default {{}} */
  readonly registries?: RegistryConfigs;
  /**
   * Keeps what `images.login` is told in place of a file in home: the NAME of an installed
   * `docker-credential-NAME`. @default {none}
   */
  readonly credentialHelper?: string;
  /** What an image may hold before its disk is refused. @default {64 GiB, 5 million entries} */
  readonly imageLimits?: ImageLimits;
  /** How many layers of an image are fetched at once, 1 to 32. @default {4} */
  readonly parallelDownloads?: number;
  /** How many events are kept, and how long; of programs that differ the least counts. */
  readonly events?: EventRetention;
  /**
   * Where boxes run by emulation: whether a machine like one that has booted before goes on from a boot
   * that is kept in home (some 45 MiB each, the last 8), in place of booting. Such boxes have the
   * addresses of their kernel's parts in common, and their own random numbers. @default {true}
   */
  readonly preboot?: boolean;
  /** Gets what happens beside: failing listeners, guests that don't shut down. @default {nobody} */
  readonly log?: (line: string) => void;
}
