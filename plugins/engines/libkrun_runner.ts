/**
 * Runs a machine on libkrun; loaded by the box process alone. The machine lives in this very
 * process: when the guest ends, libkrun ends the process, and no JavaScript runs after that.
 *
 * @module
 */
import type { Machine, MachineExit, MachineRunner, MachineSpec } from "../../mod.ts";
import { type Libkrun, loadLibkrun } from "./libkrun_symbols.ts";

const LOG_ERRORS = 1;
const KERNEL_ELF = 1;
const DISK_FORMATS = { raw: 0, qcow2: 1 } as const;
const VSOCK_PORT = 1024;

const runner: MachineRunner = { start };
export default runner;

function start(spec: MachineSpec): Promise<Machine> {
  const { symbols } = loadLibkrun(spec.engine.library ?? "");
  unwrap("krun_set_log_level", symbols.krun_set_log_level(LOG_ERRORS));
  const context = unwrap("krun_create_ctx", symbols.krun_create_ctx());
  configure(symbols, context, spec);
  return Promise.resolve({
    exited: enter(symbols, context),
    kill: () => Deno.exit(137),
  });
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
  unwrap(
    "krun_set_console_output",
    symbols.krun_set_console_output(context, cString(spec.consolePath)),
  );
  // The vsock that libkrun adds by itself would also carry the guest's sockets to the host.
  unwrap("krun_disable_implicit_vsock", symbols.krun_disable_implicit_vsock(context));
  unwrap("krun_add_vsock", symbols.krun_add_vsock(context, 0));
  unwrap(
    "krun_add_vsock_port2",
    symbols.krun_add_vsock_port2(context, VSOCK_PORT, cString(spec.channelPath), false),
  );
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
