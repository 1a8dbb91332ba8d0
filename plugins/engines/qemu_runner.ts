/**
 * Runs machines on QEMU; loaded by the box process alone. The machine is described by JSON
 * (`-blockdev`), so that no character of a path has a meaning, and no format is ever probed.
 *
 * @module
 */
import type {
  Machine,
  MachineExit,
  MachineNetwork,
  MachineRunner,
  MachineSpec,
  RunnerProcess,
  RunningProgram,
} from "../../mod.ts";
import { after, QemuTalk, RAM_BLOCK } from "./qemu_control.ts";
import { resumeArguments, resumeMachine } from "./qemu_resume.ts";
import { type FileServer, serveShares, shareArguments } from "./qemu_shares.ts";

/** How long one of a machine and its virtiofsd may take to end by itself once the other has, in `ms`. */
const SERVER_GRACE_MS = 500;

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

const runner: MachineRunner = { start };
export default runner;

async function start(
  spec: MachineSpec,
  { confine, counterKhz, transferPath, spawn }: RunnerProcess,
): Promise<Machine> {
  const { program = "", accelerator } = spec.engine;
  const boots = accelerator !== "kvm" && !spec.resume;
  const khz = boots ? await counterKhz() : undefined;
  const server = spec.shares ? await serveShares(spec.shares, spec.engine, spawn) : undefined;
  // This process makes no connections once it is confined: QEMU is the one that does.
  const listener = listen(ownPath(spec));
  const child = await spawn({
    command: [program, ...machineArguments(spec, { counterKhz: khz, transferPath })],
    env: MEMORY,
    // A restart after this process was killed waits until the disk is free.
    lock: `${spec.folder}/qemu.lock`,
    ...spec.resume ? { input: spec.resume.statePath } : {},
  });
  const talk = (async () => {
    const connection = await listener.accept();
    listener.close();
    return new QemuTalk(connection);
  })();
  talk.catch(() => {}); // it ended before
  void child.ended.then(async () => {
    close(listener);
    (await talk.catch(() => undefined))?.[Symbol.dispose]();
  });
  const order = async (execute: string) => {
    await (await talk).ask({ execute });
  };
  const kill = () => child.kill();
  const exited = end(child, server && { ...server, failed: kill });
  if (spec.resume) {
    const gone = exited.then(({ output }) => {
      throw new Error(output || "QEMU ended without a word");
    });
    try {
      await Promise.race([talk, gone]);
      confine([]); // what goes on in the guest, goes on at once
      await Promise.race([resumeMachine(spec, talk), gone]);
    } catch (error) {
      kill();
      await exited;
      throw error;
    }
  }
  return {
    exited,
    kill,
    pause: () => order("stop"),
    resume: () => order("cont"),
  };
}

/** Where QEMU finds the box process, for orders of its own. */
function ownPath({ controlPath }: MachineSpec): string {
  return `${controlPath}.own`;
}

/** Listens, also where a box process that died has left its socket. */
function listen(path: string): Deno.UnixListener {
  try {
    return Deno.listen({ transport: "unix", path });
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    Deno.removeSync(path);
    return Deno.listen({ transport: "unix", path });
  }
}

function close(listener: Deno.UnixListener): void {
  try {
    listener.close();
  } catch {
    // It was closed when QEMU had come.
  }
}

/** Waits for the machine; one that has lost its file server is ended, since its programs hang. */
async function end(
  child: RunningProgram,
  server: (FileServer & { failed: () => void }) | undefined,
): Promise<MachineExit> {
  let lost = "";
  let timer: Disposable | undefined;
  // A machine that ends takes it along, and may be noticed later.
  const serverEnd = server?.exited.then(({ words }) => {
    lost = words;
    timer = after(SERVER_GRACE_MS, server.failed);
  });
  const { code, signal, output } = await child.ended;
  timer?.[Symbol.dispose]();
  const failed = code !== 0 && !signal;
  const why = lost === "" && failed && server ? await lateWords(server) : lost;
  const said = [why, output].filter((text) => text !== "").join("; ");
  server?.kill();
  await serverEnd;
  timer?.[Symbol.dispose]();
  return { code, signal, output: said };
}

/** What virtiofsd has failed with, if QEMU failed for that and was the faster one to end. */
async function lateWords(server: FileServer): Promise<string> {
  using _timer = after(SERVER_GRACE_MS, server.kill);
  const { failed, words } = await server.exited;
  return failed ? words : "";
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

/**
 * QEMU's command line for a machine.
 *
 * @param counterKhz How fast this machine's time stamp counter counts, if that is known.
 * @param transferPath {@link RunnerProcess.transferPath}.
 */
export function machineArguments(
  spec: MachineSpec,
  { counterKhz, transferPath }: {
    readonly counterKhz?: number | undefined;
    readonly transferPath?: string | undefined;
  } = {},
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
    ...["-chardev", option("socket", { id: "own", path: ownPath(spec) })],
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
