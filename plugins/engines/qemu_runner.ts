/**
 * Runs machines on QEMU; loaded by the box process alone. The machine is described by JSON
 * (`-blockdev`), so that no character of a path has a meaning, and no format is ever probed.
 *
 * @module
 */
import type { Machine, MachineExit, MachineRunner, MachineSpec } from "../../mod.ts";

/** Text of QEMU's standard error that is kept for messages, in bytes. */
const OUTPUT_LIMIT = 8 * 1024;

const runner: MachineRunner = { start };
export default runner;

function start(spec: MachineSpec): Promise<Machine> {
  const { program = "", setpriv = "", flock = "" } = spec.engine;
  // QEMU dies with the box process, even when that is killed: the box process starts it from its
  // main thread, which lives as long as the process does. It holds a lock while it lives, so that
  // a restart after such an end waits until the disk is free.
  const lock = `${spec.folder}/qemu.lock`;
  const child = new Deno.Command(setpriv, {
    args: [
      ...["--pdeathsig", "KILL", "--", flock, "--no-fork", "--wait", "10", lock, program],
      ...machineArguments(spec),
    ],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    clearEnv: true,
    env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" },
  }).spawn();
  const output = tail(child.stderr);
  return Promise.resolve({
    exited: end(child, output),
    kill() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
    },
  });
}

async function end(child: Deno.ChildProcess, output: Promise<string>): Promise<MachineExit> {
  const status = await child.status;
  return { code: status.signal ? null : status.code, signal: status.signal, output: await output };
}

async function tail(stream: ReadableStream<Uint8Array>): Promise<string> {
  let kept = new Uint8Array(0);
  for await (const chunk of stream) {
    const both = new Uint8Array(kept.length + chunk.length);
    both.set(kept);
    both.set(chunk, kept.length);
    kept = both.subarray(Math.max(0, both.length - OUTPUT_LIMIT));
  }
  return new TextDecoder().decode(kept).trim();
}

/** QEMU's command line for a machine. */
export function machineArguments(spec: MachineSpec): string[] {
  const kvm = spec.engine.accelerator === "kvm";
  return [
    ...["-M", "microvm,acpi=off"],
    ...["-accel", kvm ? "kvm" : "tcg"],
    // Emulated, "rep movsb" goes byte by byte: without these flags the guest's kernel copies twice
    // as fast.
    ...["-cpu", kvm ? "host" : "max,-erms,-fsrm"],
    ...["-smp", String(spec.cpus), "-m", String(spec.memoryMiB)],
    ...["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"],
    ...["-name", `hutch-${spec.id}`],
    ...["-kernel", spec.kernel.path, "-append", spec.kernel.commandLine],
    ...spec.disks.flatMap(diskArguments),
    ...["-device", "virtio-rng-device"],
    ...["-device", "virtio-serial-device"],
    ...["-chardev", option("file", { id: "console", path: spec.consolePath, append: "on" })],
    ...["-device", "virtconsole,chardev=console"],
    ...["-chardev", option("socket", { id: "agent", path: spec.channelPath })],
    ...["-device", "virtserialport,chardev=agent,name=hutch.agent"],
  ];
}

function diskArguments(disk: MachineSpec["disks"][number], index: number): string[] {
  const name = `disk${index}`;
  const node = {
    driver: disk.format,
    "node-name": name,
    "read-only": disk.readOnly,
    ...(disk.readOnly ? {} : { discard: "unmap" }),
    file: {
      driver: "file",
      filename: disk.path,
      ...(disk.readOnly ? {} : { discard: "unmap" }),
    },
  };
  return [
    "-blockdev",
    JSON.stringify(node),
    "-device",
    JSON.stringify({ driver: "virtio-blk-device", drive: name }),
  ];
}

/** `kind,name=value,…` with commas in values doubled, as QEMU wants them. */
function option(kind: string, values: Readonly<Record<string, string>>): string {
  return [
    kind,
    ...Object.entries(values).map(([name, value]) => `${name}=${value.replaceAll(",", ",,")}`),
  ].join(",");
}
