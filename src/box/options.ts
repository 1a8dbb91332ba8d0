/**
 * What a box can be asked to be, and what it is recorded as.
 *
 * @module
 */
import type { PullListener } from "../images/pull/pull.ts";
import type { PullPolicy } from "../images/pull/policy.ts";
import type { NetworkConfig, NetworkOptions } from "../network/options.ts";
import type { PublishedPort } from "../network/ports.ts";
import type { LogLimits } from "../vmm/log_files.ts";
import type { ExecDefaults } from "./exec_options.ts";
import type { LogOptions, MainConfig, MainOptions } from "./main_options.ts";

/** Options of `Runtime.create`. */
export interface BoxOptions extends NetworkOptions {
  /** Image reference as Docker writes them (`debian:12`), or with a scheme (`oci:PATH`, `builtin:busybox`). */
  readonly image: string;
  /** When to ask the image's source for it. @default {"missing"} */
  readonly pull?: PullPolicy;
  /** `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`, unique in the home. Default: made up. */
  readonly name?: string;
  /**
   * A box that has this name goes: it gets `graceMs` (default 10,000; 0 ends it at once) to shut
   * down, and is removed once the image of the new one is here. @default {false}
   */
  readonly replace?: boolean | { readonly graceMs?: number };
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
  /**
   * Runs the image's entrypoint and command (`true`), or the entrypoint with other arguments, as the
   * box's main command with each start: the box ends when it ends, with its exit code, and
   * {@link RestartPolicy} goes by that. @default {false}
   */
  readonly main?: boolean | readonly string[] | MainOptions;
  /**
   * The first process of the box. `true`: hutch's own, which reaps what is left behind, as every box
   * has it. A path: a program of the image gets that place and is the box's main command; a stop
   * asks it to shut down. @default {true}
   */
  readonly init?: boolean | string;
  /** What `stop` sends the main command, such as `SIGQUIT`. @default {the image's, else SIGTERM} */
  readonly stopSignal?: string;
  /** How much of what `Box.logs` gives is kept. */
  readonly log?: LogOptions;
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
  /**
   * `HOST:GUEST[:ro]` for folders and files of the host, `NAME:GUEST` for named volumes,
   * `tmpfs:GUEST`, `disk:FILE:GUEST`, the same as objects, or what a plugin reads.
   */
  readonly volumes?: readonly VolumeSpec[];
  /** Stops the box so long after each start, in `ms`; time in which it is paused counts. @default {never} */
  readonly maxDurationMs?: number;
  /**
   * Stops the box when it was idle for so long, in `ms`. It is idle while no command runs that a
   * program started, no file is on its way, and no conversation of its network carries anything:
   * neither its own nor one through a published port. An open connection that is silent, what was
   * refused and health checks don't count; a paused box isn't idle. @default {never}
   */
  readonly idleTimeoutMs?: number;
  /** Whether to start the box again when it ends by itself. @default {"no"} */
  readonly restart?: RestartPolicy;
  /** Looks regularly whether the box is well. @default {not} */
  readonly health?: HealthCheck;
  /** Cancels the creation, the pull it may need included. */
  readonly signal?: AbortSignal;
  /** Hears how the pull goes, if one is needed, and how the image's base disk is made. */
  readonly onPull?: PullListener;
}

/** A volume as text, or as an object with any keys that a plugin understands. */
export type VolumeSpec = string | { readonly guest: string; readonly [key: string]: unknown };

/**
 * When a box that ended by itself is started again: `on-failure` after a crash, a failed restart, or
 * when its main command ended with another code than 0; `always` after a clean end (its main command
 * ended with 0, the guest powered itself off, the host was restarted) too; never after
 * it was stopped or killed on purpose, by its limits, or with the program it is attached to.
 * `on-failure:N` gives up after `N` restarts in a row.
 *
 * The first restart of a row waits 100 ms, each further one twice as long, a minute at most. A run
 * of 10 s ends the row. A start that somebody asked for and that fails isn't tried again.
 */
export type RestartPolicy = "no" | "always" | "on-failure" | `on-failure:${number}`;

/**
 * How a box's health is looked at. The first check comes with the start. It makes a box `healthy` at
 * once when it succeeds, and `retries` failures in a row make it `unhealthy`; checks go on after
 * that, and one success mends it. A paused box isn't checked.
 */
export interface HealthCheck {
  /**
   * Program and arguments that end with 0 when all is well; run as the box's commands are, but
   * without hooks and events. @default {asks the agent}
   */
  readonly command?: readonly string[];
  /** Time from one check's end to the next, in `ms`. @default {30000} */
  readonly intervalMs?: number;
  /** A check that takes longer has failed, in `ms`. @default {10000} */
  readonly timeoutMs?: number;
  /** So many failures in a row make the box `unhealthy`. @default {3} */
  readonly retries?: number;
  /** Failures in this time after the start don't count, until a success; in `ms`. @default {60000} */
  readonly startPeriodMs?: number;
}

/** What health checks found. `none`: there are no checks. */
export type HealthStatus = "none" | "starting" | "healthy" | "unhealthy";

/** A box's configuration, as recorded; every default filled in. Each change is a new version. */
export interface BoxConfig {
  /** 12 lower-case hexadecimal digits. */
  readonly id: string;
  /** 1 when the box is created; grows by one with each rename and update. */
  readonly version: number;
  /** Its name, the only one in its home. */
  readonly name: string;
  /** Creation time, ISO 8601. */
  readonly createdAt: string;
  /** What it is made from. */
  readonly image: {
    /** Canonical reference with its scheme. */
    readonly reference: string;
    /** Digest of the manifest the box is pinned to. */
    readonly digest: string;
  };
  /** Processors. */
  readonly cpus: number;
  /** Memory in MiB. */
  readonly memoryMiB: number;
  /** Size of its disk in MiB. */
  readonly diskMiB: number;
  /** Host name in the box. */
  readonly hostname: string;
  /** Labels by their keys. */
  readonly labels: Readonly<Record<string, string>>;
  /** The engine asked for; `auto` included. */
  readonly engine: string;
  /** Whether it is removed when it ends. */
  readonly autoRemove: boolean;
  /** It removes itself and belongs to the program that made it: it goes when that ends. */
  readonly owned: boolean;
  /** How long it may take until its agent answers, in `ms`. */
  readonly bootTimeoutMs: number;
  /** What of the host is seen in it. */
  readonly volumes: readonly VolumeSpec[];
  /** What the box's network is. */
  readonly network: NetworkConfig;
  /** In `ms`, or null for never. */
  readonly maxDurationMs: number | null;
  /** How long it may do nothing, in `ms`; null for any time. */
  readonly idleTimeoutMs: number | null;
  /** When it is started again. */
  readonly restart: RestartPolicy;
  /** Null for no checks. */
  readonly health: Required<HealthCheck> | null;
  /** What commands get where they don't say. */
  readonly exec: ExecDefaults;
  /** Entrypoint and command of the image, as the options changed them. */
  readonly entrypoint: readonly string[];
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** The main command; null for none. */
  readonly main: MainConfig | null;
  /** The image's program that is the box's first process; null for hutch's own. */
  readonly init: string | null;
  /** What `stop` sends the main command; empty for the usual. */
  readonly stopSignal: string;
  /** How much of its log is kept. */
  readonly log: LogLimits;
}

/** Where a box is in its life. */
export type BoxStatus =
  | "configured"
  | "starting"
  | "running"
  | "pausing"
  | "paused"
  | "stopping"
  | "stopped"
  | "failed"
  | "crashed";

/** Everything known about a box, as `hutch inspect` prints it. */
export interface BoxInfo {
  /** The box's id. */
  readonly id: string;
  /** The box's name. */
  readonly name: string;
  /** What it does. */
  readonly status: BoxStatus;
  /** What it was made with. Of boxes in a list it is parsed when it is first asked for. */
  readonly config: BoxConfig;
  /** Process id of the box process while there is one. */
  readonly pid: number | null;
  /** The engine it runs or last ran on. */
  readonly engine: string | null;
  /** ISO 8601. */
  readonly startedAt: string | null;
  /** When it ended, as ISO 8601; null while it runs or never did. */
  readonly stoppedAt: string | null;
  /** Why it failed, crashed or stopped. */
  readonly reason: string | null;
  /**
   * Exit code of its main command (128 + signal number when a signal ended it) in its last run; null
   * while it runs, without a main command, and when nobody could find it out.
   */
  readonly exitCode: number | null;
  /** What its checks found; `none` while it doesn't run. */
  readonly health: HealthStatus;
  /** How often its policy has restarted it since somebody started it. */
  readonly restarts: number;
  /** When that last began, ISO 8601. */
  readonly restartedAt: string | null;
  /** Ports of this machine that lead to it while it runs. */
  readonly ports: readonly PublishedPort[];
  /** The stage in which its last start failed. */
  readonly stage: string | null;
  /** Time of each stage of the last start, in `ms`. */
  readonly stages: Readonly<Record<string, number>>;
}
