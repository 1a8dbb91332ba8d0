/**
 * Every stage, operation, query and event that a plugin can take part in, each once. Read this
 * first when you write a plugin; `plugins/README.md` is its guide, with this file as a table.
 *
 * @module
 */
import type { Box } from "../box/box.ts";
import type { CopyOptions, CopyOutOptions, CopyResult } from "../box/copy_options.ts";
import type { ExecOptions, ExecStatus, TerminalSize } from "../box/exec_options.ts";
import type { BoxConfig, BoxInfo, BoxOptions, HealthStatus, VolumeSpec } from "../box/options.ts";
import type { QuiesceReport, SnapshotCreated } from "../box/snapshot_options.ts";
import type { Hello } from "../guest/messages.ts";
import type { ImageSource } from "../images/source.ts";
import type { Runtime } from "../runtime/runtime.ts";
import type { BlockedSecret, ClosedFlow, DeniedFlow, FlowStart } from "../network/control.ts";
import type {
  NameAnswer,
  NameQuestion,
  NetworkConnection,
  NetworkHookConfig,
  NetworkTarget,
  RequestConnection,
} from "../network/hooks.ts";
import type { NameServer, NetworkConfig } from "../network/options.ts";
import type { PublishedPort } from "../network/ports.ts";
import type { SecretConfig } from "../network/secrets.ts";
import type { Consistency } from "../state/snapshot_rows.ts";
import type { Engine, MachineDisk, MachineSpec } from "../vmm/engine.ts";

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
  /** The volumes that the box asked for, found and checked on the host. */
  volumes: {
    input: { layout: LayoutOutput; box: BoxConfig };
    output: readonly ResolvedVolume[];
  };
  /** What network the box gets. */
  network: { input: { layout: LayoutOutput; box: BoxConfig }; output: NetworkOutput };
  /** Chooses the engine and starts the machine in its box process. */
  boot: {
    input: { spec: Omit<MachineSpec, "engine">; engine: string; network: NetworkOutput };
    output: BootOutput;
  };
  /** Waits for the agent's hello. */
  connect: { input: { timeoutMs: number }; output: Hello };
  /**
   * Hostname, file system size, mounts: after it the box is `running`. Its `after` hooks may run
   * commands in the box already (`context.box`).
   */
  configure: {
    input: {
      hostname: string;
      grow: boolean;
      volumes: readonly ResolvedVolume[];
      network: NetworkOutput;
    };
    output: { ms: number };
  };
  /** Starts the box's main command, where it has one. */
  main: { input: ExecInput; output: { pid: number } };
}

/** What is done with boxes, with what each gets and gives. Hooks go around them as around stages. */
export interface Operations {
  /** Records a box, also of an archive or of kept memory. Answering without `next` hands out one that was made otherwise. */
  create: { input: BoxOptions; output: Box };
  /** Runs a command; the box runs by now. */
  exec: { input: ExecInput; output: ExecProcess };
  /** Copies files or a tree into a box; the box runs by now. */
  copyIn: { input: CopyInInput; output: CopyResult };
  /** Copies files or a tree out of a box; the box runs by now. */
  copyOut: { input: CopyOutInput; output: CopyResult };
  /** Takes a snapshot of a box's disk. */
  snapshot: { input: SnapshotInput; output: SnapshotCreated };
  /** Shuts a box down. */
  stop: { input: StopInput; output: BoxInfo };
  /** Removes a box and its files. */
  remove: { input: { force: boolean }; output: { id: string } };
}

/** A command as it was asked for. */
export interface ExecInput {
  /** The program. */
  readonly command: string;
  /** Its arguments. */
  readonly args: readonly string[];
  /** How it is to run. */
  readonly options: ExecOptions;
}

/** A command that runs. */
export interface ExecProcess {
  /** Process id in the box. */
  readonly pid: number;
  /** How it ended; doesn't wait for its output to be read. */
  readonly status: Promise<ExecStatus>;
  /** What it reads. */
  readonly stdin: WritableStream<Uint8Array>;
  /** What it writes. */
  readonly stdout: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** What it complains on. */
  readonly stderr: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Sends a signal to its process group. */
  kill(signal: Deno.Signal): Awaitable<void>;
  /** Changes its terminal's size. Left out where it has none. */
  resize?(size: TerminalSize): Awaitable<void>;
  /** Kills it if it still runs, and lets go of its streams. */
  close(): Promise<void>;
}

/** A copy into a box, as it was asked for. */
export interface CopyInInput {
  /** A path on the host, or a tar. */
  readonly source: string | ReadableStream<Uint8Array>;
  /** A path in the box. */
  readonly destination: string;
  /** How to copy. */
  readonly options: CopyOptions;
}

/** A copy out of a box, as it was asked for. */
export interface CopyOutInput {
  /** A path in the box. */
  readonly source: string;
  /** A path on the host, or who takes the tar. */
  readonly destination: string | WritableStream<Uint8Array>;
  /** How to copy. */
  readonly options: CopyOutOptions;
}

/** A snapshot as it was asked for. */
export interface SnapshotInput {
  /** Unique among the box's snapshots. */
  readonly name: string;
  /** Free-form pairs for finding it again. */
  readonly labels: Readonly<Record<string, string>>;
  /** Whether it fails when the box's file systems can't be made to stand still. */
  readonly consistency: "best" | "required";
  /** Whether the box's memory is kept too. */
  readonly memory: boolean;
}

/** How a box is to be stopped. */
export interface StopInput {
  /** Time between TERM and KILL for the box's processes, in `ms`; 0 kills them at once. */
  readonly timeoutMs: number;
  /** After it the machine is ended if the guest hasn't by itself, in `ms`. */
  readonly killAfterMs: number;
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
  /** The box's log: what its main command, detached executions and console said. */
  readonly outputFolder: string;
  /** Records of its snapshots, and their memory. */
  readonly snapshotsFolder: string;
  /** The memory that its next start goes on from; mostly not there. */
  readonly memoryFolder: string;
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
  /** Where the box process, and nobody else, sees the volumes. */
  readonly sharesFolder: string;
  /** Socket of what serves the volumes to the guest. */
  readonly sharesSocketPath: string;
  /** Socket for orders to the engine. */
  readonly controlPath: string;
  /** Socket for the machine's network device. */
  readonly networkSocketPath: string;
  /** Socket for orders to the box's network. */
  readonly networkControlPath: string;
  /** Socket for connections that get secrets. */
  readonly secretsSocketPath: string;
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
  /** The kernel's file. */
  readonly kernelPath: string;
  /** The kernel's command line. */
  readonly commandLine: string;
  /** The disk with the agent. */
  readonly disk: MachineDisk;
}

/** Where a volume is in the box, and how it is mounted there; `nosuid` and `nodev` in any case. */
export interface VolumePlace {
  /** Its name: `uservol0`, `uservol1`, … in the order asked for. */
  readonly tag: string;
  /** Where it is in the box: absolute, without `..`, not `/`. */
  readonly guestPath: string;
  /** Whether the guest may only read it. */
  readonly readOnly: boolean;
  /** Programs in it can't be run. */
  readonly noexec: boolean;
}

/** A folder or file of the host in the box. */
export interface SharedVolume extends VolumePlace {
  /** Tells it from other kinds. */
  readonly kind: "share";
  /** Canonical path of the folder or file on the host. */
  readonly hostPath: string;
  /** Its owner on the host. */
  readonly uid: number;
  /** Number of the group. */
  readonly gid: number;
  /** Whom that owner's files belong to in the box; null where owners are kept. */
  readonly owner: VolumeOwner | null;
}

/** The box's side of an owner. */
export interface VolumeOwner {
  /** Number of the user. */
  readonly uid: number;
  /** Number of the group. */
  readonly gid: number;
  /** Somebody asked for it: where this machine can't do it, the start fails. */
  readonly required: boolean;
}

/** Memory of the box as a file system, empty at each start. */
export interface TmpfsVolume extends VolumePlace {
  /** Tells it from other kinds. */
  readonly kind: "tmpfs";
  /** In `MiB`; null for half of the box's memory. */
  readonly sizeMiB: number | null;
  /** Permissions of its root. */
  readonly mode: number;
}

/** A disk's file system in the box, which its kernel recognises. */
export interface DiskVolume extends VolumePlace {
  /** Tells it from other kinds. */
  readonly kind: "disk";
  /** Canonical path of the disk's file on the host. */
  readonly hostPath: string;
  /** The format of the disk's file. */
  readonly format: MachineDisk["format"];
  /** Its file system is made as large as the disk. */
  readonly grow: boolean;
}

/** A volume that is there, as engine and guest mount it. */
export type ResolvedVolume = SharedVolume | TmpfsVolume | DiskVolume;

/** What a plugin says of a volume that it knows: at most one of `hostPath`, `tmpfs`, `disk`. */
export interface VolumeAnswer {
  /** Folder or file on the host. Left out at creation by a plugin that makes it at the start. */
  readonly hostPath?: string;
  /**
   * With `hostPath`: whom the files of its owner belong to in the box; `"keep"` leaves all owners as
   * they are. @default {the box's user, where that is a number or root and the machine can do it}
   */
  readonly owner?: "keep" | { readonly uid: number; readonly gid: number };
  /** Memory of the box; `sizeMiB` of half of it and `mode` 0o1777 unless it says otherwise. */
  readonly tmpfs?: { readonly sizeMiB?: number; readonly mode?: number };
  /**
   * A file on the host with an ext4, XFS or btrfs file system, which no other box has meanwhile. With
   * `grow` it is made as large as the disk.
   */
  readonly disk?: {
    readonly path: string;
    readonly format: MachineDisk["format"];
    readonly grow?: boolean;
  };
  /** Where the box gets it. */
  readonly guestPath: string;
  /** Whether the guest may only read it. @default {false} */
  readonly readOnly?: boolean;
  /** Programs in it can't be run. @default {false} */
  readonly noexec?: boolean;
  /**
   * Recorded with the box in place of what was asked for, such as without a relative path, which
   * means another folder to another program; plain JSON. Looked at when the box is created.
   */
  readonly spec?: VolumeSpec;
}

/** The network of a box. */
export type NetworkOutput =
  /** Loopback alone. */
  | { readonly mode: "none" }
  | {
    readonly mode: "nat" | "open";
    /**
     * What may be reached, before the mode's default is asked; the first that fits counts:
     * `allow|deny [in|out] any|tcp|udp|icmp TARGET PORTS [divert PORT]`. TARGET is `any`, an address,
     * `ADDRESS/BITS`, a name, `*.NAME`, or a group: `public private link-local metadata host`. PORTS
     * is `any`, `N` or `N-M`. What is diverted goes to that port of this machine's loopback.
     */
    readonly rules: readonly string[];
    /** Secrets that are put into what goes to their hosts; none: nothing is looked into. */
    readonly secrets: readonly SecretConfig[];
    /** What doesn't go on without the word of plugins' `network` hooks. */
    readonly hooks: NetworkHookConfig;
    /** Whether `network.connected` and `network.closed` are told. */
    readonly logConnections: boolean;
    /** Ports of this machine that lead to the box; 0 is one that the system picks. */
    readonly ports: readonly PublishedPort[];
    /** Servers that are asked for names; none: those of this machine. */
    readonly nameServers: readonly NameServer[];
    /** Lines for `/etc/hosts`. */
    readonly hosts: readonly string[];
    /** Bits per second, or null for no limit. */
    readonly bandwidth: NetworkConfig["bandwidth"];
  };

/** A name and a password, or a token, for a registry. */
export type Credentials =
  | { readonly username: string; readonly password: string }
  /** Given to the registry as it is. */
  | { readonly token: string }
  /** A refresh token, which the registry's token server gives tokens for. */
  | { readonly identityToken: string };

/** A started machine. */
export interface BootOutput {
  /** Name of the engine that was asked for. */
  readonly engine: string;
  /** Process id of the box process. */
  readonly pid: number;
  /** The ports of this machine that lead to the box, as they came to be. */
  readonly ports: readonly PublishedPort[];
}

/** Questions that the first plugin which knows answers. */
export interface Queries {
  /** Which of the usable engines a box gets; asked only when the box says `auto`. */
  engine: { question: { box: string; usable: readonly string[] }; answer: string };
  /**
   * Where a volume is. Asked when a box is created, without `start`: the plugin refuses what can't
   * be, and makes nothing. Asked again in each start of the box; then `folder`, which isn't there
   * at first, is the plugin's to make and fill: it goes with the box. What is elsewhere is cleaned
   * up by the `remove` operation's `after`.
   */
  volume: {
    question: {
      spec: VolumeSpec;
      start: { readonly box: BoxConfig; readonly folder: string } | undefined;
    };
    answer: VolumeAnswer;
  };
  /** Credentials for a registry (`host[:port]`, such as `docker.io`); asked when it wants some. */
  credentials: { question: { registry: string }; answer: Credentials };
  /**
   * Whether an image may be used under a name; asked in each pull and load, after its manifest came
   * and before anything of it is kept, and when an image gets another name. An image that is here
   * already is used without asking.
   */
  verify: {
    question: {
      /** The name it gets, whole and with its scheme. */
      reference: string;
      /** Digest of the manifest. */
      digest: string;
      manifest: Uint8Array<ArrayBuffer>;
      /**
       * Where it comes from: `reference` itself in a pull, else a file, or what the image was pulled
       * by; null for one of a file that gets another name.
       */
      source: string | null;
      /** Digest of what its source names: an index, or the manifest; signatures are often of this. */
      resolvedDigest: string;
    };
    answer: { readonly ok: true } | { readonly ok: false; readonly reason: string };
  };
  /** The value of a secret; kept nowhere. Asked in each start, of the plugin that the secret names. */
  secret: { question: { box: string; name: string }; answer: string };
}

/** What plugins decide of what boxes do in their networks; none of it is asked of plugins without it. */
export interface NetworkDecisions {
  /**
   * Whether a connection, a UDP exchange or an echo may begin that the box's rules allow, and where it
   * goes instead. Asked once for each, in 10 s.
   */
  onConnect: { question: NetworkConnection; answer: NetworkTarget | "deny" };
  /** Whether a name may be asked for that the box's rules allow, and what it is. Asked in 10 s. */
  onDns: { question: NameQuestion; answer: NameAnswer | "deny" };
  /**
   * A request by HTTP without TLS, or by HTTPS on port 443 or to one of `hosts`: gives another one to
   * the same host, or the answer. It has placeholders where its secrets go. Asked in 30 s, whatever its
   * body takes. One with the header `upgrade: websocket` is what a WebSocket begins with: an answer
   * (`new Response(null, { status: 403 })`) refuses it.
   */
  onRequest: { question: Request; answer: Request | Response };
  /**
   * The answer to such a request, other plugins' too. Not that a WebSocket begins: its status, 101, is
   * none that a `Response` can have. Asked in 30 s.
   */
  onResponse: { question: Response; answer: Response };
}

/**
 * Decides about boxes' networks: each hook may return nothing to leave things as they are. What fails or
 * takes too long is denied, and so is all that a hook would be asked about while its program is gone.
 */
export type NetworkHooks =
  & {
    /** Hosts whose HTTPS is looked into on any port, beside port 443 of all: names, and `*.NAME`. */
    readonly hosts?: readonly string[];
  }
  & {
    readonly [H in keyof NetworkDecisions]?: (
      question: NetworkDecisions[H]["question"],
      context: H extends "onRequest" | "onResponse" ? RequestContext : PluginContext,
    ) => Awaitable<NetworkDecisions[H]["answer"] | void>;
  };

/** Which box an event is about. */
export interface BoxEvent {
  /** The box's id. */
  readonly box: string;
  /** Name of the plugin. */
  readonly name: string;
}

/** A copy that succeeded. */
export interface FileCopy extends CopyResult {
  /** Where it was copied from. */
  readonly source: string;
  /** Where it was copied to. */
  readonly destination: string;
  /** How long it took, in `ms`. */
  readonly ms: number;
}

/** What happened, for listeners. Every event also has its `type` and time: see {@link HutchEvent}. */
export interface Events {
  /** It was recorded; it hasn't booted yet. */
  "box.created": BoxEvent & { image: string };
  /** It runs; `ms` is the whole time of its start. */
  "box.started": BoxEvent & { engine: string; ms: number };
  /** Its machine stands still. */
  "box.paused": BoxEvent;
  /** It goes on after a pause. */
  "box.resumed": BoxEvent;
  /** It doesn't run any more, as it was asked to or by itself. */
  "box.stopped": BoxEvent & { reason: string | null };
  /** A start failed, in a stage. */
  "box.failed": BoxEvent & { stage: string | null; reason: string };
  /** It ended in a way nobody asked for. */
  "box.crashed": BoxEvent & { reason: string };
  /** Its record and files are gone. */
  "box.removed": BoxEvent;
  /** It stood still for a moment; `reason` says why its file systems didn't, where they didn't. */
  "box.quiesced": BoxEvent & QuiesceReport;
  /** A snapshot of it was taken. */
  "snapshot.created": BoxEvent & { snapshot: string; consistency: Consistency };
  /** A snapshot of it went; what others share of it stays. */
  "snapshot.removed": BoxEvent & { snapshot: string };
  /** Its disk is a snapshot's again; `safety` names the one of what it was before. */
  "snapshot.restored": BoxEvent & { snapshot: string; safety: string | null };
  /** Its health changed. */
  "box.health": BoxEvent & { health: HealthStatus; failures: number; message: string };
  /** Its network refused something; 20 a second at most, kept for whoever comes while no program is there. */
  "network.denied": BoxEvent & DeniedFlow;
  /** A connection or exchange began, where `logConnections` asks for it; 100 of both kinds a second at most. */
  "network.connected": BoxEvent & FlowStart;
  /** It ended, or fell silent: UDP and echoes after 20 s. */
  "network.closed": BoxEvent & ClosedFlow;
  /** The placeholder of a secret was on its way to where it isn't for, and didn't get there. */
  "secret.blocked": BoxEvent & BlockedSecret;
  /** A command runs; `execution` is the same in its `exec.exited`. */
  "exec.started": BoxEvent & { execution: string; command: readonly string[]; user: string };
  /**
   * It ended; without code or signal when it couldn't be started or its box was lost. A detached one's
   * end is told once, by whoever sees it first: who started it, joins or lists it, or finds its box ended.
   */
  "exec.exited": BoxEvent & {
    execution: string;
    command: readonly string[];
    code: number | null;
    signal: string | null;
    /** Why there is no code. */
    error: string | null;
    ms: number;
  };
  /** Files came into a box; `source` is `-` for a tar stream. */
  "file.copiedIn": BoxEvent & FileCopy;
  /** Files came out of a box; `destination` is `-` for a tar stream. */
  "file.copiedOut": BoxEvent & FileCopy;
  /** An image's source is asked for it. */
  "image.pulling": { reference: string };
  /** The whole image is here. */
  "image.pulled": { reference: string; digest: string; ms: number };
  /** A name means an image now that was here already, or came out of a file. */
  "image.tagged": { reference: string; digest: string };
  /** A name means nothing any more; or, where `reference` is the digest, a nameless image went. */
  "image.removed": { reference: string; digest: string };
  /** A stage of a box's start began. */
  "stage.started": BoxEvent & { stage: keyof Stages };
  /** A stage ended well, after `ms`. */
  "stage.finished": BoxEvent & { stage: keyof Stages; ms: number };
  /** A plugin's listener, hook or clean-up failed; told to the others. */
  "plugin.failed": { plugin: string; hook: string; message: string; box: string | null };
  /** Events before this one couldn't be kept in state: its disk was full, say. */
  "events.dropped": { count: number; reason: string };
}

/** An event of one type, as its listeners get it. */
export type EventOf<E extends keyof Events> = Readonly<Events[E]> & {
  readonly type: E;
  /** When it happened, ISO 8601. */
  readonly at: string;
};

/** Any event, told apart by its `type`. */
export type HutchEvent = { [E in keyof Events]: EventOf<E> }[keyof Events];

/** What each hook of a plugin gets beside its input. */
export interface PluginContext {
  /** The plugin's own name. */
  readonly plugin: string;
  /** Tells the runtime's log, with the plugin's name before it. */
  log(line: string): void;
  /** Aborted when the operation is cancelled or the runtime closes. */
  readonly signal: AbortSignal;
  /** The box that it is about; undefined in `setup`, `create`, and events and questions without one. */
  readonly box: Box | undefined;
  /** The runtime that the plugin is in; not yet usable in `setup`. */
  readonly runtime: Runtime;
}

/** What hooks of requests get. */
export interface RequestContext extends PluginContext {
  /** Where it is going. */
  readonly connection: RequestConnection;
  /** The request, for `onResponse` as it went; its body is used up by then. */
  readonly request: Request;
}

/** How a plugin changes a stage or an operation. */
export interface StageHook<I, O> {
  /** Sees the input first; may return another one, or refuse by throwing. */
  before?(input: I, context: PluginContext): Awaitable<I | void>;
  /** Runs around it; may skip `next`, call it again, or answer itself. */
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
  /** Changes the stages of a box's start: before, around, after. */
  readonly stages?: {
    readonly [S in keyof Stages]?: StageHook<Stages[S]["input"], Stages[S]["output"]>;
  };
  /** Changes what is done with boxes, in the same way. */
  readonly operations?: {
    readonly [S in keyof Operations]?: StageHook<Operations[S]["input"], Operations[S]["output"]>;
  };
  /** Answers a question first, or returns undefined to pass. */
  readonly resolve?: {
    readonly [Q in keyof Queries]?: (
      question: Queries[Q]["question"],
      context: PluginContext,
    ) => Awaitable<Queries[Q]["answer"] | undefined>;
  };
  /** Decides about boxes' networks. */
  readonly network?: NetworkHooks;
  /** Engines it brings, by their own names. */
  readonly engines?: readonly Engine[];
  /** Where images come from, by scheme: `registry`, `oci`, `builtin`, … */
  readonly sources?: Readonly<Record<string, ImageSource>>;
  /** Watches. A listener can't break or delay a box; its error goes to the log. */
  readonly on?: {
    readonly [E in keyof Events]?: (
      event: EventOf<E>,
      context: PluginContext,
    ) => Awaitable<void>;
  };
  /**
   * Acquires what the plugin needs; what it returns is disposed of in reverse order when the
   * runtime closes, also when opening fails half way.
   */
  setup?(context: PluginContext): Awaitable<AsyncDisposable | Disposable | void>;
}
