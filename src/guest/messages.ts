/**
 * The CBOR payloads of the channel's frames: what the host asks of the agent, and what it answers.
 * `ffi/protocol.h` has the framing. Text is UTF-8; bytes are `Uint8Array`.
 *
 * @module
 */

/** First frame of the agent, on stream 0. */
export interface Hello {
  /** Protocol version; must equal `PROTOCOL_VERSION`. */
  readonly protocol: number;
  /** The agent's build, for people. */
  readonly agent: string;
  /** The guest kernel's release, such as `6.12.3`. */
  readonly kernel: string;
  /** Time from the kernel's start to this message, in `ms`. */
  readonly bootMs: number;
}

/** Asks for a command in the box. Answered by {@link ExecReply}, then data, then {@link Exit}. */
export interface ExecRequest {
  readonly op: "exec";
  /**
   * Program and arguments, as text or bytes; a program without `/` is looked up in `env`'s `PATH`.
   */
  readonly argv: readonly (string | Uint8Array)[];
  /** The whole environment, as `NAME=value`. */
  readonly env: readonly string[];
  /** Absolute path in the box. */
  readonly cwd: string;
  /** `name|uid[:group|gid]`, looked up in the box's own passwd and group files. */
  readonly user: string;
  /** Whether standard input is a pipe (else `/dev/null`). */
  readonly stdin: boolean;
  /**
   * A terminal of this many rows and columns, 1 to 65,535 each, as all three streams; then `stdin`
   * says whether anything is typed.
   */
  readonly tty?: TtySize;
  /** TERM to its process group after this time of the box's clock, in `ms`, 1 to 2^31 - 1. */
  readonly timeoutMs?: number;
  /** With `timeoutMs`: from TERM to KILL, in `ms`, up to a day; 0 kills at once. */
  readonly graceMs?: number;
  /** Soft and hard limit by name, as `setrlimit(2)` counts them; null is none. */
  readonly rlimits?: Readonly<Record<string, readonly [number | null, number | null]>>;
  /** Bit N: capability number N may be had; all others are gone for good. */
  readonly capKeep?: number;
  /** Some of `capKeep`, which the command has even as another user than root. */
  readonly capGive?: number;
  /** Set-user-ID programs and file capabilities give nothing. */
  readonly noNewPrivileges?: boolean;
  /** It becomes the first process of the box, in place of the agent's own; once at most. */
  readonly init?: boolean;
  /**
   * Its id, if it outlives its host: `main`, or up to 32 hexadecimal digits. Where the machine's memory
   * goes on with another host, it waits there for {@link AdoptRequest}.
   */
  readonly held?: string;
  /** One of the agent's own programs, which runs in place of `argv[0]`; the box needn't have any. */
  readonly builtin?: Builtin;
}

/** The programs that the agent has in itself. */
export type Builtin =
  | "connect"
  | "files"
  | "freeze"
  | "metrics"
  | "pack"
  | "renew"
  | "unpack"
  | "watch";

/** A terminal's size in characters. */
export type TtySize = readonly [rows: number, columns: number];

/** The command runs. */
export interface ExecReply {
  /** Process id as seen in the box. */
  readonly pid: number;
}

/** How a command ended; exactly one of `code` and `signal` isn't null. */
export interface Exit {
  /** Exit code, 0 to 255. */
  readonly code: number | null;
  /** Signal name, such as `SIGKILL`. */
  readonly signal: string | null;
  /** Whether its `timeoutMs` was over first. */
  readonly timedOut: boolean;
}

/** Makes the box's view: mounts the box disk and enters it. Sent once, before any exec. */
export interface ConfigureRequest {
  readonly op: "configure";
  /** 1 to 64 bytes. */
  readonly hostname: string;
  /** Grow the box's file system to its disk. */
  readonly grow: boolean;
  /** Volumes, mounted in this order; 64 at most. */
  readonly mounts: readonly GuestMount[];
  /** Of `eth0`, as `ADDRESS/BITS`; without any the box has its loopback alone. */
  readonly addresses?: readonly string[];
  readonly gateways?: readonly string[];
  /** With `addresses`: longest packet in bytes, 1,280 to 65,535. */
  readonly mtu?: number;
  /** Lines for `/etc/hosts`, added where the file doesn't have their first name; printable ASCII. */
  readonly hosts?: readonly string[];
  /** All of `/etc/resolv.conf`. */
  readonly resolv?: string;
  /** Whether a command with `init` is to come. */
  readonly init?: boolean;
}

/** What is mounted in the box; `nosuid` and `nodev`. */
export type GuestMount = ShareMount | TmpfsMount | DiskMount;

/** Where and how something is mounted. */
interface MountPlace {
  /**
   * Where it is in the box: absolute, not `/`, without `..`, 1,023 bytes at most. What is missing
   * of it is made.
   */
  readonly path: string;
  readonly readOnly: boolean;
  readonly noexec?: boolean;
}

/** A folder or file of the host. */
export interface ShareMount extends MountPlace {
  /** Its name among the machine's shares, `[a-z0-9]{1,32}`. */
  readonly tag: string;
}

/** Memory of the guest. */
export interface TmpfsMount extends MountPlace {
  /** In `MiB`, up to 2^32 - 1; 0 for half of the guest's memory. */
  readonly tmpfs: number;
  /** Permissions of its root, up to 0o1777. */
  readonly mode: number;
}

/** A disk's file system: ext4, XFS or btrfs. */
export interface DiskMount extends MountPlace {
  /** Which of the machine's disks, from 2 to 25; the first is 0. */
  readonly disk: number;
  /** Grow the file system to its disk. */
  readonly grow: boolean;
}

/** The box's view is there. */
export interface ConfigureReply {
  /** Time spent, in `ms`. */
  readonly ms: number;
}

/** Ends the guest: TERM to every process of the box, KILL after `graceMs`, unmount, power off. */
export interface ShutdownRequest {
  readonly op: "shutdown";
  /** Time between TERM and KILL, in `ms`; 0 kills at once. */
  readonly graceMs: number;
  /** Nobody will look at the box's disk again: it isn't written to any more. @default {false} */
  readonly discard?: boolean;
}

/** Is the agent alive? Answered by an empty reply. */
export interface PingRequest {
  readonly op: "ping";
}

/**
 * Goes on with a command that outlived its host, as if it had just been started on this stream: answered
 * by {@link ExecReply}, then what it prints from now on, then {@link Exit}.
 */
export interface AdoptRequest {
  readonly op: "adopt";
  readonly held: string;
}

/**
 * Makes a box that went on from the memory of another one itself: sets its clock and host name, and
 * reseeds its random numbers. Commands that weren't adopted before end. Answered by an empty reply.
 */
export interface ResumeRequest {
  readonly op: "resume";
  /** 1 to 64 bytes. */
  readonly hostname: string;
  /** The time, in `ms` since 1970. */
  readonly clockMs: number;
  /** 1 to 512 hexadecimal digits that nobody else knows. */
  readonly seed: string;
  /** Hardware address of `eth0`, such as `52:48:55:54:43:02`; without it there is no such device. */
  readonly mac?: string;
}

/** What the host can open a stream with. */
export type Request =
  | ExecRequest
  | ConfigureRequest
  | ShutdownRequest
  | PingRequest
  | AdoptRequest
  | ResumeRequest;

/** Sends a signal to the command's process group. */
export interface SignalControl {
  readonly op: "signal";
  /** Number as Linux has it on this machine, 1 to 64. */
  readonly signal: number;
}

/** Changes the size of a command's terminal. */
export interface ResizeControl {
  readonly op: "resize";
  readonly tty: TtySize;
}

/** What the host can send on a running stream. */
export type Control = SignalControl | ResizeControl;

/** Why a request failed; the host maps each to an error code. */
export type FailureKind =
  | "bad_cwd"
  | "bad_request"
  | "busy"
  | "failed"
  | "limit_refused"
  | "no_such_execution"
  | "no_such_user"
  | "not_executable"
  | "not_found"
  | "window_exceeded";

/** Payload of an ERROR frame. */
export interface Failure {
  readonly kind: FailureKind;
  /** Linux error number, or 0. */
  readonly errno: number;
  /** What the agent was doing, such as `execve /bin/nope`. */
  readonly message: string;
}

/** Payload of the GOODBYE frame. */
export interface Goodbye {
  /** `shutdown`: asked for. `lost`: the agent gave up, and `message` says why. */
  readonly reason: "shutdown" | "lost";
  readonly message: string;
}
