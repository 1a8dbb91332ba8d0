/**
 * QEMU's command line for a machine. It is described by JSON (`-blockdev`) where it has paths, so that no character
 * of those has a meaning, and no format is ever probed.
 *
 * @module
 */
import type {
  BesideOptions,
  BesideProgram,
  MachineNetwork,
  MachineResume,
  MachineShares,
  MachineSpec,
} from "../../mod.ts";
import { RAM_BLOCK } from "./qemu_control.ts";

/** Machines of this type have room for eight devices, of which four may be others than disks. */
const MOST_DISKS = 4;

/**
 * Has the C library (glibc) take its heap in huge pages, 8 MiB at once: QEMU comes to need as much, and else
 * asks for each of some 2,000 small pages. One heap for all threads, of which each would take as much.
 */
const MEMORY = {
  GLIBC_TUNABLES: "glibc.malloc.hugetlb=1",
  MALLOC_TOP_PAD_: String(8 * 2 ** 20),
  MALLOC_ARENA_MAX: "1",
};

/** What QEMU is told beside the machine. */
export interface QemuSurroundings {
  /** How fast this machine's time stamp counter counts, if that is known. */
  readonly counterKhz?: number | undefined;
  /** {@link RunnerProcess.transferPath}. */
  readonly transferPath?: string | undefined;
  /** {@link BesideOptions.listener}. @default {it connects to the box process for orders of its own} */
  readonly listener?: number | undefined;
}

/** The program that is the machine. */
export function machineProgram(
  spec: MachineSpec,
  surroundings: QemuSurroundings | BesideOptions,
): BesideProgram {
  const { program = "" } = spec.engine;
  return {
    command: [program, ...machineArguments(spec, surroundings)],
    env: MEMORY,
    // A restart after its box process was killed waits until the disk is free.
    lock: `${spec.folder}/qemu.lock`,
    ...spec.resume ? { input: spec.resume.statePath } : {},
  };
}

/** Where QEMU finds the box process, for orders of its own. */
export function ownPath({ controlPath }: MachineSpec): string {
  return `${controlPath}.own`;
}

/**
 * Emulated, "rep movsb" goes byte by byte: without its flags the guest's kernel copies twice as fast. Each
 * switch of SMAP ends a piece of translated code, which made commands a sixth slower.
 */
const EMULATED_PROCESSOR = "max,-erms,-fsrm,-smap";

/**
 * What an emulated guest's kernel is told beside. Detours around what processors guess: an emulated one
 * doesn't make them where the guest means them. And that its counter is this machine's own, and how fast:
 * it would find that out by its timer's ticks, of which it misses some where others keep it from its
 * processor, and then have no other clock than those.
 */
function emulatedKernel(counterKhz: number | undefined): string {
  const counter = counterKhz === undefined ? "" : ` tsc=reliable tsc_early_khz=${counterKhz}`;
  return ` mitigations=off${counter}`;
}

/** QEMU's command line for a machine, without the program. */
export function machineArguments(
  spec: MachineSpec,
  { counterKhz, transferPath, listener }: QemuSurroundings = {},
): string[] {
  const kvm = spec.engine.accelerator === "kvm";
  const last = spec.disks.length;
  const transfer = last < MOST_DISKS ? transferPath : undefined;
  return [
    ...["-M", `microvm,acpi=off${memoryBackend(spec)}`],
    ...["-accel", kvm ? "kvm" : "tcg"],
    ...["-cpu", kvm ? "host" : EMULATED_PROCESSOR],
    ...["-smp", String(spec.cpus), "-m", String(spec.memoryMiB)],
    ...["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"],
    // No programs, no other rights, no old system calls.
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-name", `hutch-${spec.id}`],
    ...["-kernel", spec.kernel.path],
    "-append",
    spec.kernel.commandLine + (kvm ? "" : emulatedKernel(counterKhz)) +
    (transfer === undefined ? "" : ` HUTCH_TRANSFER=/dev/vd${"abcdefgh"[last]}`),
    ...spec.shares ? shareArguments(spec.shares, spec.memoryMiB) : [],
    ...spec.resume ? resumeArguments(spec.resume, spec.memoryMiB) : [],
    ...spec.disks.flatMap(diskArguments),
    // The port takes 4 KiB at a time from the host, each with a turn of QEMU's main loop.
    ...transfer === undefined
      ? []
      : diskArguments({ path: transfer, format: "raw", readOnly: true }, last),
    ...spec.network ? networkArguments(spec.network) : [],
    ...["-device", "virtio-rng-device"],
    ...["-device", "virtio-serial-device"],
    ...["-chardev", option("file", { id: "console", path: spec.consolePath, append: "on" })],
    ...["-device", "virtconsole,chardev=console"],
    ...[
      "-chardev",
      option("socket", { id: "control", path: spec.controlPath, server: "on", wait: "off" }),
    ],
    ...["-mon", "chardev=control,mode=control"],
    "-chardev",
    listener === undefined
      ? option("socket", { id: "own", path: ownPath(spec) })
      : option("socket", { id: "own", fd: String(listener), server: "on", wait: "off" }),
    ...["-mon", "chardev=own,mode=control"],
    ...[
      "-chardev",
      spec.resume ? "null,id=agent" : option("socket", { id: "agent", path: spec.channelPath }),
    ],
    ...["-device", "virtserialport,chardev=agent,name=hutch.agent"],
  ];
}

function memoryBackend(spec: MachineSpec): string {
  if (spec.shares) return ",memory-backend=memory";
  return spec.resume ? `,memory-backend=${RAM_BLOCK}` : "";
}

function diskArguments(disk: MachineSpec["disks"][number], index: number): string[] {
  const name = `disk${index}`;
  const discard = disk.readOnly ? {} : { discard: "unmap" };
  const both = { "read-only": disk.readOnly, ...discard };
  // A node of its own; see `switchDisk`.
  const file = { driver: "file", "node-name": `${name}-file`, filename: disk.path, ...both };
  const node = { driver: disk.format, "node-name": name, file: `${name}-file`, ...both };
  return [
    ...["-blockdev", JSON.stringify(file)],
    ...["-blockdev", JSON.stringify(node)],
    "-device",
    // The device's name is what `qemu_monitor.ts` finds it by.
    JSON.stringify({ driver: "virtio-blk-device", drive: name, id: `device${index}` }),
  ];
}

/** Room for some of the longest packets: the guest's buffers are of 4 KiB. */
function networkArguments(network: MachineNetwork): string[] {
  const path = network.socketPath.replaceAll(",", ",,");
  return [
    ...["-netdev", `stream,id=network,server=off,addr.type=unix,addr.path=${path}`],
    "-device",
    `virtio-net-device,netdev=network,mac=${network.macAddress},rx_queue_size=1024`,
  ];
}

/** `kind,name=value,…` with commas in values doubled, as QEMU wants them. */
function option(kind: string, values: Readonly<Record<string, string>>): string {
  return [
    kind,
    ...Object.entries(values).map(([name, value]) => `${name}=${value.replaceAll(",", ",,")}`),
  ].join(",");
}

/**
 * It loads a state, which is its standard input, at once, and stands still afterwards. Its network is its own:
 * nobody is there to be told that the machine is elsewhere now, and telling would keep an emulated guest from its
 * work for a while.
 */
export function resumeArguments(resume: MachineResume, memoryMiB: number): string[] {
  const memory = {
    ...{ "qom-type": "memory-backend-file", id: RAM_BLOCK, size: memoryMiB * 2 ** 20 },
    ...{ "mem-path": resume.ramPath, share: false },
  };
  return [
    "-object",
    JSON.stringify(memory),
    "-S",
    "-incoming",
    "fd:0",
    "-global",
    "migration.announce-rounds=0",
  ];
}

/** What a machine needs to have the shares: memory that virtiofsd sees too, and the device. */
function shareArguments(shares: MachineShares, memoryMiB: number): string[] {
  const path = shares.socketPath.replaceAll(",", ",,");
  return [
    ...["-object", `memory-backend-memfd,id=memory,size=${memoryMiB}M,share=on`],
    ...["-global", "virtio-mmio.force-legacy=false"],
    ...["-chardev", `socket,id=shares,path=${path}`],
    ...["-device", "vhost-user-fs-device,chardev=shares,tag=hutch,queue-size=1024"],
  ];
}
