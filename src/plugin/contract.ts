/**
 * Every stage, query and event that a plugin can take part in, each once. Read this first when
 * you write a plugin.
 *
 * @module
 */
import type { BoxConfig } from "../box/options.ts";
import type { ImageSource } from "../images/source.ts";
import type { Engine, MachineDisk, MachineSpec } from "../vmm/engine.ts";
import type { Hello } from "../guest/messages.ts";

/** A value now or later. */
export type Awaitable<T> = T | Promise<T>;

/** The stages of a box's start, with what each gets and gives. */
export interface Stages {
  /** Makes the box's folders and sockets' paths. */
  layout: { input: { box: BoxConfig }; output: LayoutOutput };
  /** From the pinned image to its base disk, made if it isn't cached. */
  image: { input: { box: BoxConfig }; output: ImageOutput };
  /** Kernel and system disk, made if they aren't cached. */
  system: { input: Record<string, never>; output: SystemOutput };
  /** The box's own disk, an overlay over the base disk; kept on a restart. */
  disk: {
    input: { layout: LayoutOutput; image: ImageOutput; box: BoxConfig };
    output: MachineDisk;
  };
  /** Chooses the engine and starts the machine in its box process. */
  boot: { input: { spec: Omit<MachineSpec, "engine">; engine: string }; output: BootOutput };
  /** Waits for the agent's hello. */
  connect: { input: { timeoutMs: number }; output: Hello };
  /** Mounts, hostname, file system size: after it the box is `running`. */
  configure: { input: { hostname: string; grow: boolean }; output: { ms: number } };
}

/** Paths of one box. */
export interface LayoutOutput {
  /** The box's folder in home. */
  readonly folder: string;
  /** Its disk's path. */
  readonly diskPath: string;
  /** What the guest's kernel and agent say. */
  readonly consolePath: string;
  /** What the box process says. */
  readonly logPath: string;
  /** Where the box process says how its machine ended. */
  readonly exitPath: string;
  /** Lock held by the box process as long as it lives. */
  readonly lockPath: string;
  /** Lock held by whoever starts, stops or removes the box. */
  readonly operationLockPath: string;
  /** Lock held by the program that a box which removes itself belongs to. */
  readonly ownerLockPath: string;
  /** Socket of the box process for clients. */
  readonly socketPath: string;
  /** Socket for the guest's channel. */
  readonly channelPath: string;
}

/** An image as a box uses it. */
export interface ImageOutput {
  /** Manifest digest. */
  readonly digest: string;
  /** The base disk. */
  readonly disk: MachineDisk;
}

/** What every box boots from. */
export interface SystemOutput {
  readonly kernelPath: string;
  readonly commandLine: string;
  readonly disk: MachineDisk;
}

/** A started machine. */
export interface BootOutput {
  readonly engine: string;
  /** Process id of the box process. */
  readonly pid: number;
}

/** Questions that the first plugin which knows answers. */
export interface Queries {
  /** Which of the usable engines a box gets; asked only when the box says `auto`. */
  engine: { question: { box: string; usable: readonly string[] }; answer: string };
}

/** What happened, for listeners. */
export interface Events {
  /** A stage began. */
  "stage.started": { box: string; stage: keyof Stages };
  /** A stage ended well, after `ms`. */
  "stage.finished": { box: string; stage: keyof Stages; ms: number };
}

/** What each hook of a plugin gets beside its input. */
export interface PluginContext {
  /** The plugin's own name. */
  readonly plugin: string;
  /** Aborted when the operation is cancelled or the runtime closes. */
  readonly signal: AbortSignal;
}

/** How a plugin changes a stage. */
export interface StageHook<I, O> {
  /** Sees the input first; may return another one, or refuse by throwing. */
  before?(input: I, context: PluginContext): Awaitable<I | void>;
  /** Runs around the stage; may skip `next`, call it again, or answer itself. */
  wrap?(input: I, next: (input: I) => Promise<O>, context: PluginContext): Awaitable<O>;
  /** Sees the output last; may return another one. */
  after?(output: O, context: PluginContext): Awaitable<O | void>;
}

/** A named object with one slot per kind of power. */
export interface Plugin {
  /** Shown in errors and logs; unique in a runtime. */
  readonly name: string;
  /** Runs before or after the plugins without an order. */
  readonly order?: "pre" | "post";
  /** Changes stages: before, around, after. */
  readonly stages?: {
    readonly [S in keyof Stages]?: StageHook<Stages[S]["input"], Stages[S]["output"]>;
  };
  /** Answers a question first, or returns undefined to pass. */
  readonly resolve?: {
    readonly [Q in keyof Queries]?: (
      question: Queries[Q]["question"],
      context: PluginContext,
    ) => Awaitable<Queries[Q]["answer"] | undefined>;
  };
  /** Engines it brings, by their own names. */
  readonly engines?: readonly Engine[];
  /** Where images come from, by scheme: `registry`, `oci`, `builtin`, … */
  readonly sources?: Readonly<Record<string, ImageSource>>;
  /** Watches. A listener can't break or delay a box; its error goes to the log. */
  readonly on?: {
    readonly [E in keyof Events]?: (
      event: Readonly<Events[E]>,
      context: PluginContext,
    ) => Awaitable<void>;
  };
  /** Acquires what the plugin needs; disposed in reverse order when the runtime closes. */
  setup?(context: PluginContext): Awaitable<AsyncDisposable | void>;
}
