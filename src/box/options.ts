/**
 * What a box can be asked to be, and what it is recorded as.
 *
 * @module
 */
import type { PullListener } from "../images/pull.ts";
import type { ExecDefaults } from "./exec_options.ts";

/** Options of `Runtime.create`. */
export interface BoxOptions {
  /** Image reference as Docker writes them (`debian:12`), or with a scheme (`oci:PATH`, `builtin:busybox`). */
  readonly image: string;
  /** `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`, unique in the home. Default: made up. */
  readonly name?: string;
  /** Virtual CPUs, 1 to the machine's count. @default {1} */
  readonly cpus?: number;
  /** Memory in `MiB`, at least 64; or text such as `"512m"`, `"2GiB"`. @default {512} */
  readonly memory?: number | string;
  /** Size of the box's disk in `MiB`, or text such as `"10g"`; sparse. @default {"10GiB"} */
  readonly disk?: number | string;
  /** Added to the image's environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Default working folder of commands. @default {the image's, else "/"} */
  readonly cwd?: string;
  /** Default user of commands, `name|uid[:group|gid]`. @default {the image's, else root} */
  readonly user?: string;
  /** Replaces the image's entrypoint for {@link BoxInfo.command}. */
  readonly entrypoint?: readonly string[];
  /** Host name in the box, at most 64 bytes. @default {the name} */
  readonly hostname?: string;
  /** Free-form pairs for finding boxes again. */
  readonly labels?: Readonly<Record<string, string>>;
  /** `auto`, `libkrun`, `qemu`, or a plugin's. @default {"auto"} */
  readonly engine?: string;
  /** Remove the box when it is disposed of or its program ends. @default {true without a name, else false} */
  readonly autoRemove?: boolean;
  /** The box outlives the program that started it. @default {false} */
  readonly detached?: boolean;
  /** How long to wait for the guest's agent, in `ms`. @default {30000} */
  readonly bootTimeoutMs?: number;
  /** Cancels the creation, the pull it may need included. */
  readonly signal?: AbortSignal;
  /** Hears how the pull goes, if one is needed. */
  readonly onPull?: PullListener;
}

/** A box's immutable configuration, as recorded; every default filled in. */
export interface BoxConfig {
  /** 12 lower-case hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  /** Creation time, ISO 8601. */
  readonly createdAt: string;
  readonly image: {
    /** Canonical reference with its scheme. */
    readonly reference: string;
    /** Digest of the manifest the box is pinned to. */
    readonly digest: string;
  };
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly diskMiB: number;
  readonly hostname: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The engine asked for; `auto` included. */
  readonly engine: string;
  readonly autoRemove: boolean;
  /** It removes itself and belongs to the program that made it: it goes when that ends. */
  readonly owned: boolean;
  readonly bootTimeoutMs: number;
  /** What commands get where they don't say. */
  readonly exec: ExecDefaults;
  /** Entrypoint and command of the image, as the options changed them. */
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
}

/** Where a box is in its life. */
export type BoxStatus =
  | "configured"
  | "starting"
  | "running"
  | "stopping"
  | "stopped"
  | "failed"
  | "crashed";

/** Everything known about a box, as `hutch inspect` prints it. */
export interface BoxInfo {
  readonly id: string;
  readonly name: string;
  readonly status: BoxStatus;
  readonly config: BoxConfig;
  /** Process id of the box process while there is one. */
  readonly pid: number | null;
  /** The engine it runs or last ran on. */
  readonly engine: string | null;
  /** ISO 8601. */
  readonly startedAt: string | null;
  readonly stoppedAt: string | null;
  /** Why it failed, crashed or stopped. */
  readonly reason: string | null;
  /** Time of each stage of the last start, in `ms`. */
  readonly stages: Readonly<Record<string, number>>;
}
