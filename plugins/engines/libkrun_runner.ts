/**
 * Runs a machine on libkrun; loaded by the box process alone. The machine lives in this very
 * process: when the guest ends, libkrun ends the process, and no JavaScript runs after that.
 *
 * @module
 */
import type {
  EngineParts,
  Machine,
  MachineExit,
  MachineNetwork,
  MachineRunner,
  MachineSpec,
  RunnerProcess,
} from "../../mod.ts";
import { type Libkrun, loadLibkrun } from "./libkrun_symbols.ts";

const LOG_ERRORS = 1;
const KERNEL_ELF = 1;
const DISK_FORMATS = { raw: 0, qcow2: 1 } as const;
const PORT_NAME = "hutch.agent";
const SHARES_TAG = "hutch";
const PR_SET_PDEATHSIG = 1;
const SIGCONT = 18;
const PROT_NONE = 0;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x2 | 0x20 | 0x4000; // as Linux has them
const MAP_FAILED = 2n ** 64n - 1n;
/** The largest page that is a small one anywhere. */
const PAGE = 64n << 10n;
const HUGE_PAGE = 2n << 20n;
/** Room for what else is mapped when a machine starts: stacks of threads. */
const SMALL = 32n << 20n;
const AF_UNIX = 1;
const SOCK_STREAM = 1;

const runner: MachineRunner = { prepare, start };
export default runner;

let loaded: Libkrun | undefined;

/** Loads the library, which is a large one. */
function prepare({ library = "" }: EngineParts): Libkrun {
  return loaded ??= loadLibkrun(library);
}

function start(spec: MachineSpec, { confine }: RunnerProcess): Promise<Machine> {
  const { symbols } = prepare(spec.engine);
  unwrap("krun_set_log_level", symbols.krun_set_log_level(LOG_ERRORS));
  const context = unwrap("krun_create_ctx", symbols.krun_create_ctx());
  configure(symbols, context, spec);
  // A box is paused by stopping this process, which then can't notice that its program has ended.
  // Linux continues it at that moment; elsewhere it ends when it is resumed.
  continueAtEnd(symbols, SIGCONT);
  confine(filesOf(spec));
  alignMemory(symbols, BigInt(spec.memoryMiB) << 20n);
  return Promise.resolve({
    exited: enter(symbols, context),
    // As by SIGKILL. Deno.exit would run exit handlers beside a machine that goes on, and may hang.
    kill: () => symbols._exit(137),
    detached: () => continueAtEnd(symbols, 0),
  });
}

/** What libkrun opens when the machine starts, and the guest's folders. */
function filesOf(spec: MachineSpec): Parameters<RunnerProcess["confine"]>[0] {
  return [
    ...spec.disks.flatMap(({ path, readOnly, below = [] }) => [
      { may: readOnly ? "read" : "write", path } as const,
      ...below.map((path) => ({ may: "read", path }) as const),
    ]),
    ...spec.shares ? [{ may: "write", path: spec.shares.folder }] as const : [],
    { may: "read", path: spec.kernel.path },
    { may: "write", path: "/dev/kvm" },
    // The machine's processors, and libraries that it loads by then.
    ...["/sys/devices/system", "/usr", "/lib", "/lib64", "/dev/urandom"].map((path) =>
      ({ may: "read", path }) as const
    ),
  ];
}

/**
 * Has the kernel put the guest's memory, the next large thing that is mapped, where it can be of huge pages
 * for the processor too: kernels before 6.7 put it below whatever was mapped last, and a guest whose every
 * page is a small one boots 15 % slower. A gap stays above it for the small things that are mapped before.
 */
function alignMemory({ mmap, munmap }: Libkrun["symbols"], bytes: bigint): void {
  if (Deno.build.os !== "linux") return;
  const length = bytes + SMALL + HUGE_PAGE + PAGE;
  const at = mmap(0n, length, PROT_NONE, MAP_PRIVATE_ANONYMOUS_NORESERVE, -1, 0n);
  if (at === MAP_FAILED) return; // so will the machine, and say why
  const end = at + length;
  const start = (end - SMALL - PAGE - bytes) / HUGE_PAGE * HUGE_PAGE;
  const wall = start + bytes; // one page stays, which parts the gap from the memory
  munmap(at, wall - at);
  munmap(wall + PAGE, end - wall - PAGE);
}

/** Says which signal the kernel sends this process when its parent ends; 0 for none. */
function continueAtEnd({ prctl }: Libkrun["symbols"], signal: number): void {
  if (prctl) unwrap("prctl", prctl(PR_SET_PDEATHSIG, BigInt(signal)));
}

function configure(symbols: Libkrun["symbols"], context: number, spec: MachineSpec): void {
  unwrap(
    "krun_set_vm_config",
    symbols.krun_set_vm_config(context, spec.cpus, spec.memoryMiB),
  );
  unwrap(
    "krun_set_kernel",
    symbols.krun_set_kernel(
      context,
      cString(spec.kernel.path),
      KERNEL_ELF,
      null,
      cString(spec.kernel.commandLine),
    ),
  );
  spec.disks.forEach((disk, index) =>
    unwrap(
      "krun_add_disk2",
      symbols.krun_add_disk2(
        context,
        cString(`disk${index}`),
        cString(disk.path),
        DISK_FORMATS[disk.format],
        disk.readOnly,
      ),
    )
  );
  if (spec.shares) {
    const { folder } = spec.shares;
    unwrap(
      "krun_add_virtiofs",
      symbols.krun_add_virtiofs(context, cString(SHARES_TAG), cString(folder)),
    );
  }
  if (spec.network) addNetwork(symbols, context, spec.network);
  unwrap(
    "krun_set_console_output",
    symbols.krun_set_console_output(context, cString(spec.consolePath)),
  );
  // The vsock that libkrun adds by itself would carry the guest's sockets to the host.
  unwrap("krun_disable_implicit_vsock", symbols.krun_disable_implicit_vsock(context));
  addChannel(symbols, context, spec.channelPath);
}

/**
 * Of virtio-net's features those that have the guest make buffers for the longest packets. What it
 * sends has all checksums made, since none of the features for the other direction is among them: the
 * sums that it leaves to the device would be lost on the way.
 */
const GUEST_FEATURES = 1 << 1 | 1 << 7 | 1 << 10; // GUEST_CSUM, GUEST_TSO4, GUEST_UFO

function addNetwork(symbols: Libkrun["symbols"], context: number, network: MachineNetwork): void {
  const mac = new Uint8Array(network.macAddress.split(":").map((byte) => parseInt(byte, 16)));
  // Connected here: once the machine starts, this process makes no sockets any more.
  const socket = connectedSocket(symbols, network.socketPath);
  unwrap(
    "krun_add_net_unixstream",
    symbols.krun_add_net_unixstream(
      context,
      null,
      socket,
      mac,
      GUEST_FEATURES,
      0,
    ),
  );
}

/**
 * The channel as a port of virtio-console, the same device as on QEMU. Not vsock: libkrun's loses
 * bytes when the host's socket is full, and drops packets of several pieces.
 */
function addChannel(symbols: Libkrun["symbols"], context: number, path: string): void {
  const socket = connectedSocket(symbols, path);
  const console = unwrap(
    "krun_add_virtio_console_multiport",
    symbols.krun_add_virtio_console_multiport(context),
  );
  unwrap(
    "krun_add_console_port_inout",
    symbols.krun_add_console_port_inout(context, console, cString(PORT_NAME), socket, socket),
  );
}

function connectedSocket(symbols: Libkrun["symbols"], path: string): number {
  const socket = symbols.socket(AF_UNIX, SOCK_STREAM, 0);
  const address = unixAddress(path);
  if (socket < 0 || symbols.connect(socket, address, address.length) !== 0) {
    throw new Error(`connecting to ${path} failed`);
  }
  return socket;
}

/** A `struct sockaddr_un`. */
function unixAddress(path: string): Uint8Array<ArrayBuffer> {
  const name = cString(path);
  const address = new Uint8Array(2 + name.length);
  if (Deno.build.os === "darwin") address.set([address.length, AF_UNIX]);
  else address.set([AF_UNIX, 0]); // little-endian
  address.set(name, 2);
  return address;
}

async function enter(symbols: Libkrun["symbols"], context: number): Promise<MachineExit> {
  const result = await symbols.krun_start_enter(context);
  return { code: null, signal: null, output: `krun_start_enter failed: errno ${-result}` };
}

/** The value of a call that answers a negative errno on failure. */
function unwrap(name: string, result: number): number {
  if (result < 0) throw new Error(`${name} failed: errno ${-result}`);
  return result;
}

function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}
