/**
 * The floors: the same kernel started bare, and the channel with nothing of ours on it.
 *
 * @module
 */
import { join } from "node:path";
import { counterKhz } from "../../ffi/clock.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import type { MachineSpec } from "../../mod.ts";
import { machineArguments } from "../../plugins/engines/qemu_arguments.ts";

/** A machine started without a box process, its channel in our hands. */
export interface RawMachine extends AsyncDisposable {
  readonly connection: Deno.Conn;
}

const counter = await counterKhz(boxLibraryPath());

/** Starts QEMU alone and waits for the guest's first byte. */
export async function startBareQemu(spec: MachineSpec): Promise<RawMachine> {
  await Deno.remove(spec.channelPath).catch(() => {});
  await Deno.remove(`${spec.controlPath}.own`).catch(() => {});
  const listener = Deno.listen({ transport: "unix", path: spec.channelPath });
  // It comes here for orders, and doesn't start without; there are none.
  const orders = Deno.listen({ transport: "unix", path: `${spec.controlPath}.own` });
  const child = new Deno.Command(spec.engine.program ?? "", {
    args: machineArguments(spec, { counterKhz: counter }),
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  return await firstByte([listener, orders], child);
}

/**
 * Starts libkrun in a Deno program of its own that does nothing else, and waits for the guest's
 * first byte.
 */
export async function startBareLibkrun(spec: MachineSpec): Promise<RawMachine> {
  await Deno.remove(spec.channelPath).catch(() => {});
  const listener = Deno.listen({ transport: "unix", path: spec.channelPath });
  const path = join(spec.folder, "bare.json");
  await Deno.writeTextFile(path, JSON.stringify(spec));
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", "--quiet", "--no-config", "--no-lock"],
      import.meta.resolve("./bare_libkrun.ts"),
      path,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  return await firstByte([listener], child);
}

/** Waits for the guest at the first of its listeners. */
async function firstByte(
  listeners: readonly [Deno.Listener, ...Deno.Listener[]],
  child: Deno.ChildProcess,
): Promise<RawMachine> {
  const connection = await listeners[0].accept();
  await connection.read(new Uint8Array(1));
  return {
    connection,
    async [Symbol.asyncDispose]() {
      connection.close();
      for (const listener of listeners) listener.close();
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended with its channel.
      }
      await child.status;
    },
  };
}

/** Asks the raw guest to echo bytes; `ms` for one round trip. */
export async function rawRoundTrip(connection: Deno.Conn): Promise<number> {
  const from = performance.now();
  await command(connection, "e", 16);
  await writeAll(connection, new Uint8Array(16));
  await readExactly(connection, 16);
  return performance.now() - from;
}

/** What the raw guest's own end of a transfer is: the port, or a child with a pipe between. */
export type RawEnd = "port" | "pipe";

/** Asks the raw guest to run a program that does nothing, `count` times in a row; `ms` of its own for one. */
export async function rawExec(connection: Deno.Conn, count: number): Promise<number> {
  await command(connection, "x", count);
  const took = new Uint8Array(8);
  await readExactly(connection, took.length, took);
  return Number(new DataView(took.buffer).getBigUint64(0)) / 1e6 / count;
}

/** Bytes from the guest; MiB/s. */
export async function rawOut(
  connection: Deno.Conn,
  { bytes, end }: { readonly bytes: number; readonly end: RawEnd },
): Promise<number> {
  const from = performance.now();
  await command(connection, end === "port" ? "g" : "G", bytes);
  await readExactly(connection, bytes);
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

/** Bytes to the guest; MiB/s. */
export async function rawIn(
  connection: Deno.Conn,
  { bytes, end }: { readonly bytes: number; readonly end: RawEnd },
): Promise<number> {
  const chunk = new Uint8Array(256 * 1024);
  const from = performance.now();
  await command(connection, end === "port" ? "s" : "S", bytes);
  for (let left = bytes; left > 0; left -= chunk.length) {
    await writeAll(connection, chunk.subarray(0, Math.min(left, chunk.length)));
  }
  await readExactly(connection, 1);
  return bytes / 2 ** 20 / ((performance.now() - from) / 1000);
}

async function command(connection: Deno.Conn, letter: string, count: number): Promise<void> {
  const bytes = new Uint8Array(8);
  bytes[0] = letter.charCodeAt(0);
  new DataView(bytes.buffer).setUint32(4, count);
  await writeAll(connection, bytes);
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

/** Into the buffer; over and over, if there are more than it has room for. */
async function readExactly(
  connection: Deno.Conn,
  count: number,
  buffer = new Uint8Array(1 << 20),
): Promise<void> {
  for (let left = count; left > 0;) {
    const at = (count - left) % buffer.length;
    const n = await connection.read(buffer.subarray(at, Math.min(at + left, buffer.length)));
    if (n === null) throw new Error("the raw guest went away");
    left -= n;
  }
}
