/**
 * What an engine is: the two halves that hutch needs to run a machine on it.
 *
 * The {@link Engine} lives in the user's program and says whether it can run here. The
 * {@link MachineRunner} is a module of its own that only the box process loads, so that the box
 * process stays small.
 *
 * @module
 */
import type { FileRule } from "../../ffi/confine.ts";

/** A disk as the engine attaches it; the first is `/dev/vda`, the second `/dev/vdb`, and so on. */
export interface MachineDisk {
  /** Path on the host. */
  readonly path: string;
  /** Format, from hutch's own records; an engine must never probe it. */
  readonly format: "raw" | "qcow2";
  /** Whether the guest may only read it. */
  readonly readOnly: boolean;
  /** The files that a `qcow2` one lies over: a confined box process can open no others. @default {none} */
  readonly below?: readonly string[];
}

/** A file that a machine needs for itself, or shares with those that only read. */
export interface DiskLock {
  /** The file that is locked. */
  readonly path: string;
  /** Whether others may hold it in the same way. */
  readonly shared: boolean;
}

/** A folder or file of the host that the guest gets. */
export interface MachineShare {
  /** Its name in {@link MachineShares.folder}: `[a-z0-9]+`. */
  readonly tag: string;
  /** Absolute path on the host, without links. */
  readonly path: string;
  /** Nobody can write to it there, whatever the guest does. */
  readonly readOnly: boolean;
  /** Other owners than on the host. */
  readonly owner?: ShareOwner;
}

/** In a share, files of one owner belong to another. */
export interface ShareOwner {
  /** User and group on the host. */
  readonly from: readonly [uid: number, gid: number];
  /** User and group that the guest sees, and has to be to make files of the former. */
  readonly to: readonly [uid: number, gid: number];
  /** Without it owners are kept where the machine can't do it. */
  readonly required: boolean;
}

/** What the guest gets of the host's files. */
export interface MachineShares {
  /**
   * A folder that holds every share under its tag, in the box process's own mount namespace. The
   * engine gives it to the guest as one virtio-fs device with the tag `hutch`, so that any number
   * of shares costs one device.
   */
  readonly folder: string;
  /** Path for a unix socket, should the engine need one for the device; may be left behind. */
  readonly socketPath: string;
  /** Each of them. */
  readonly list: readonly MachineShare[];
}

/** The machine's one network device, `eth0`, of virtio-net. */
export interface MachineNetwork {
  /**
   * Unix stream socket that something listens on already. The engine connects the device to it; each
   * Ethernet frame goes behind its length in 4 bytes, big-endian, with all checksums made.
   */
  readonly socketPath: string;
  /** Hardware address, such as `52:48:55:54:43:02`. */
  readonly macAddress: string;
  /** Longest packet in bytes: frames are 14 bytes longer. */
  readonly mtu: number;
}

/** Everything an engine needs to start a machine; plain JSON, handed to the box process. */
export interface MachineSpec {
  /** The box's id, for names and messages. */
  readonly id: string;
  /** Virtual CPUs, at least 1. */
  readonly cpus: number;
  /** Memory in `MiB`. */
  readonly memoryMiB: number;
  /** The guest's kernel. */
  readonly kernel: {
    /** An x86-64 ELF that boots by its entry point and by its PVH note. */
    readonly path: string;
    readonly commandLine: string;
  };
  /** Its disks, `/dev/vda` first. */
  readonly disks: readonly MachineDisk[];
  /** Files of disks that belong to no box: the box process begins with locks on them. */
  readonly locks?: readonly DiskLock[];
  /** Undefined when there are no volumes: then the machine gets no device for them. */
  readonly shares?: MachineShares | undefined;
  /** Undefined for a machine without a network device. */
  readonly network?: MachineNetwork | undefined;
  /** File that gets the guest's console output; the engine appends or creates it. */
  readonly consolePath: string;
  /**
   * Unix socket on which the box process already listens. The engine connects it to the guest's
   * virtio-serial port `hutch.agent`.
   */
  readonly channelPath: string;
  /**
   * Where the engine may listen for orders from outside the box process, such as its
   * {@link MachinePauser}'s. With `.own` behind it, where the runner may listen for what it starts. The
   * box process removes the sockets at the end.
   */
  readonly controlPath: string;
  /** A folder of the box alone, for files that the engine needs. */
  readonly folder: string;
  /** What the engine's `probe` found and its runner needs (paths of libraries, accelerator). */
  readonly engine: EngineParts;
  /** Set for a machine that goes on from another one's memory, in place of booting. */
  readonly resume?: MachineResume | undefined;
}

/** The files that a machine's memory is kept in; they aren't written to once they are whole. */
export interface MachineMemoryFiles {
  /** The guest's memory, byte for byte, with holes where it is zero. Any number of machines may go on from it. */
  readonly ramPath: string;
  /** All else of the machine: its processors and devices. */
  readonly statePath: string;
}

/** What a machine goes on from; the rest of its {@link MachineSpec} is as the other one's was. */
export interface MachineResume extends MachineMemoryFiles {
  /** What {@link MachineMemory.save} gave: the runner refuses what doesn't fit it. */
  readonly marks: EngineParts;
  /**
   * The folder of both, this machine's own. The runner removes it once both are loaded and before the
   * guest goes on: from then on they don't fit the disk any more.
   */
  readonly folder: string;
}

/** Engine-specific findings, as JSON: names to paths or settings. */
export type EngineParts = Readonly<Record<string, string>>;

/** How a machine ended. */
export interface MachineExit {
  /** Exit code of the engine's process, or null. */
  readonly code: number | null;
  /** Signal that ended it, or null. */
  readonly signal: string | null;
  /** What the engine printed last, for messages; may be empty. */
  readonly output: string;
}

/** A running machine, inside the box process. */
export interface Machine {
  /** Resolves when the guest and everything that the engine started for it are gone. */
  readonly exited: Promise<MachineExit>;
  /** Ends the machine at once; idempotent. An engine within this process ends the process. */
  kill(): void;
  /** Told when the box is to outlive the program that started it. */
  detached?(): void;
  /**
   * Lets the machine stand still. An engine within this process, which would stand still too, has
   * neither this nor `resume`.
   */
  pause?(): Promise<void>;
  /** Lets it go on. */
  resume?(): Promise<void>;
}

/** Default export of an engine's runner module. */
export interface MachineRunner {
  /** Does what needs nothing but the engine's parts, while what the machine needs is still being made. */
  prepare?(parts: EngineParts): void;
  /**
   * Starts the machine; throws if it can't. One that goes on from memory runs programs at once: its
   * runner confines the process before.
   */
  start(spec: MachineSpec, process: RunnerProcess): Promise<Machine>;
}

/** The box process, as a {@link MachineRunner} may use it. */
export interface RunnerProcess {
  /**
   * Takes from this process, for good, all but the box's own files and these: other files, starting
   * programs, making sockets, mounts and the like. For runners whose machine lives in the box process,
   * or goes on from memory: to be called before the guest runs. Else it is done once `start` has returned.
   */
  readonly confine: (files: readonly FileRule[]) => void;
  /**
   * How fast this machine's time stamp counter counts, in `kHz`; undefined where it has none that counts
   * evenly. It takes 10 ms. An emulated guest has the same counter, and can't always find that out.
   */
  readonly counterKhz: () => Promise<number | undefined>;
  /**
   * A file of 4 MiB that may be the guest's transfer disk, where the channel is slower than a disk: the last
   * one, which it can only read, and whose path in the guest its agent finds as `HUTCH_TRANSFER=/dev/vdX` on
   * the kernel's command line. What is sent to the guest goes by it then. It stays as it is while a guest
   * reads; undefined where there is none.
   */
  readonly transferPath?: string | undefined;
  /** What {@link Engine.beside} gave for this machine, where that was started. */
  readonly beside?: RunningProgram | undefined;
  /**
   * Starts a program that dies with this process (Linux). Much cheaper than `Deno.Command`, and without a
   * permission to run anything. Throws Error when it can't.
   */
  readonly spawn: (program: RunnerProgram) => Promise<RunningProgram>;
}

/** A program that a runner starts. */
export interface RunnerProgram {
  /** Its file's path, and its arguments; none of them empty. */
  readonly command: readonly [string, ...string[]];
  /** Its environment, beside a `PATH`. @default {nothing} */
  readonly env?: Readonly<Record<string, string>>;
  /** Its working folder. @default {that of the box process} */
  readonly folder?: string;
  /** A file that is its standard input. @default {an empty one} */
  readonly input?: string;
  /**
   * A file that it holds locked (`flock`) while it lives, made where it isn't there. It isn't started before
   * another program has let that go, for which it waits 10 s.
   */
  readonly lock?: string;
  /** Whether it is to be asked: it reads lines, unless it has an `input`, and writes lines. @default {false} */
  readonly asked?: boolean;
}

/** A program that a runner has started. */
export interface RunningProgram {
  /** How it ended, with the last that it said on its standard error. */
  readonly ended: Promise<MachineExit>;
  /**
   * Gives it a line (without its end) if there is one, and reads its next; one at a time. Undefined when it
   * doesn't read, ends before it has answered, or answers with more than 16 KiB.
   */
  ask(line?: string): Promise<string | undefined>;
  /** Ends it at once; idempotent. */
  kill(): void;
}

/** One part that an engine needs, and what to do when it is missing. */
export interface EnginePart {
  /** Such as `libkrun` or `/dev/kvm`. */
  readonly name: string;
  /** Where it was found, or undefined. */
  readonly path?: string;
  /** Its version, if it has one that can be asked. */
  readonly version?: string;
  /** Why it can't be used; undefined when it can. */
  readonly problem?: string;
  /** The exact command or step that mends it. */
  readonly remedy?: string;
  /** Whether boxes run without it, and only what needs it fails. @default {false} */
  readonly optional?: boolean;
}

/** What a probe found. */
export interface EngineReport {
  /** Whether the engine can run boxes here. */
  readonly usable: boolean;
  /** Whether the guest runs on hardware virtualisation: an isolation boundary. */
  readonly isolated: boolean;
  /** Higher is better; `auto` takes the usable engine with the highest. */
  readonly rank: number;
  /**
   * Whether booting takes so long here that machines had better go on from the memory of one that has
   * booted; for an engine with {@link Engine.memory}. @default {false}
   */
  readonly preboots?: boolean;
  /** Given to the runner in {@link MachineSpec.engine}. */
  readonly parts: EngineParts;
  /** What the runner does that Deno guards, beside files of the box: programs to run, libraries to load. */
  readonly permissions: { readonly run?: readonly string[]; readonly ffi?: readonly string[] };
  /** For `doctor`. */
  readonly found: readonly EnginePart[];
}

/** A machine that runs, for any program of the same user. */
export interface MachineHandle {
  /** Process id of its box process, which lives. */
  readonly pid: number;
  /** {@link MachineSpec.controlPath}. */
  readonly controlPath: string;
}

/** Stops a machine's processors and lets them go on, from outside its box process. */
export interface MachinePauser {
  /** Resolves when the machine stands still. */
  pause(machine: MachineHandle): Promise<void>;
  /** Resolves when it goes on. */
  resume(machine: MachineHandle): Promise<void>;
  /** Whether it stands still. */
  isPaused(machine: MachineHandle): Promise<boolean>;
}

/** Another file that a machine writes a disk to from now on. */
export interface DiskOrder {
  /** Which of {@link MachineSpec.disks}, from 0. */
  readonly disk: number;
  /**
   * An empty qcow2 overlay; whatever path of a disk below is written in it, that means the file which
   * the machine has now.
   */
  readonly path: string;
}

/** Lets a machine leave the file of a disk as it is, and go on in an overlay over it. */
export interface MachineDiskSwitch {
  /**
   * Resolves when everything that the guest wrote is in the old file, which isn't written to any more.
   *
   * @returns Why the machine surely goes on with the old file; undefined when it doesn't. Rejects where
   * that can't be known.
   */
  switchDisk(machine: MachineHandle, order: DiskOrder): Promise<string | undefined>;
}

/** Keeps the memory of machines, for others to go on from. */
export interface MachineMemory {
  /**
   * Writes the files anew, of a machine that stands still and will until this has ended; it goes on
   * unharmed whatever becomes of it.
   *
   * @returns What must be the same where it is to go on, such as the engine's version.
   */
  save(machine: MachineHandle, options: MemoryOrder): Promise<EngineParts>;
}

/** Which memory is to be kept where. */
export interface MemoryOrder extends MachineMemoryFiles {
  /** {@link MachineSpec.memoryMiB}. */
  readonly memoryMiB: number;
  /** Gives it up. */
  readonly signal: AbortSignal;
}

/** A way to run machines. */
export interface Engine {
  /** As in `--engine NAME`, such as `libkrun`, `qemu`. */
  readonly name: string;
  /** URL of the module whose default export is the {@link MachineRunner}. */
  readonly runner: string;
  /**
   * How its machines are paused. Without it the whole box process is stopped and continued; then a
   * machine whose program ends must be continued by the runner or the kernel, to end with it.
   */
  readonly pauser?: MachinePauser;
  /** Without it a snapshot of a running box is a copy of its disk, made while it stands still. */
  readonly diskSwitch?: MachineDiskSwitch;
  /**
   * Without it machines' memory can't be kept; with it the runner knows {@link MachineSpec.resume}, and
   * there is a {@link Engine.pauser}: the box process says what is to be kept while the machine stands still.
   */
  readonly memory?: MachineMemory;
  /**
   * The program that is a machine. It is started while the box process is being made ready, which takes as long,
   * and its runner finds it as {@link RunnerProcess.beside}. Called for machines without shares that go on from
   * memory, or may do so. @default {runners start what they need}
   *
   * @returns Undefined where the machine's program needs something of the box process.
   */
  beside?(spec: MachineSpec, options: BesideOptions): BesideProgram | undefined;
  /** Finds out whether the engine can run here, without starting anything that lasts. */
  probe(options: EngineProbeOptions): Promise<EngineReport>;
}

/** A program that is started beside a box process. */
export type BesideProgram = Omit<RunnerProgram, "folder" | "asked">;

/** What a program has that is started beside its box process. It waits for its lock, and dies with that process. */
export interface BesideOptions {
  /** Its descriptor of a unix socket that listens at {@link MachineSpec.controlPath} with `.own` behind it. */
  readonly listener: number;
  /** {@link RunnerProcess.transferPath}. */
  readonly transferPath: string;
}

/** What a probe may use. */
export interface EngineProbeOptions {
  /** Asks the runtime for the cached result of the KVM probe. */
  readonly kvm: () => Promise<KvmReport>;
  /** Ask programs for their versions too, which takes longer; for `doctor`. */
  readonly versions: boolean;
  /** Ends the wait. */
  readonly signal?: AbortSignal;
}

/** Result of the KVM probe: does the processor really run guests? */
export interface KvmReport {
  /** Whether ordinary kernels can run. */
  readonly usable: boolean;
  /** Time of the probe's countdown in `ms`; undefined if it couldn't start. */
  readonly ms?: number;
  /** Why it isn't usable. */
  readonly problem?: string;
  /** What mends it, as a command where there is one. */
  readonly remedy?: string;
}
