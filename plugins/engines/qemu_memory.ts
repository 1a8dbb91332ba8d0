/**
 * The memory of a machine on QEMU, in two files: QEMU migrates to a socket of this program, which writes
 * the guest's pages to where they belong in the one file and all else, as it came, into the other. A
 * machine that goes on from there maps the first (its own writes stay its own) and loads the second,
 * which is small: nothing is read but what the guest touches, and all share it.
 *
 * @module
 */
import type { MachineHandle, MemoryOrder } from "../../mod.ts";
import { isObject, type QemuTalk } from "./qemu_control.ts";
import { MigrationReader } from "./qemu_stream.ts";

/** Between two looks whether it is over, in `ms`. */
const STEP_MS = 2;

/**
 * Writes both files.
 *
 * @throws Error, and the machine is as it was; the signal's reason.
 */
export async function saveMemory(
  talk: QemuTalk,
  { controlPath }: Pick<MachineHandle, "controlPath">,
  order: MemoryOrder,
): Promise<void> {
  const { ramPath, signal } = order;
  signal.throwIfAborted();
  const path = `${controlPath}.memory`;
  remove(path); // of a program that died here
  using listener = Deno.listen({ transport: "unix", path });
  try {
    // Nobody else needs the line.
    const most = { "max-bandwidth": 2 ** 40, "downtime-limit": 10_000 };
    await talk.ask({ execute: "migrate-set-parameters", arguments: most });
    await talk.ask({ execute: "migrate", arguments: { uri: `unix:${path}` } });
    const over = new AbortController();
    const ended = migrated(talk, AbortSignal.any([signal, over.signal]));
    ended.catch(() => {});
    try {
      const connection = await Promise.race([listener.accept(), ended.then(() => never(ramPath))]);
      using reader = new MigrationReader(order);
      using _connection = connection;
      await Promise.race([reader.read(connection), whenAborted(signal)]);
      await ended;
    } catch (error) {
      over.abort(error);
      await cancel(talk);
      throw error;
    }
  } finally {
    remove(path);
  }
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function never(path: string): never {
  throw new Error(`QEMU wrote nothing for ${path}`);
}

function whenAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    else signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** Waits until QEMU says that it is done. */
async function migrated(talk: QemuTalk, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const { status, why } = await progress(talk);
    if (status === "completed") return;
    if (status === "failed" || status === "cancelled") {
      throw new Error(`QEMU couldn't write it out: ${why || status}`);
    }
    await pause();
  }
}

/** Has QEMU give it up, so that the machine can go on. */
async function cancel(talk: QemuTalk): Promise<void> {
  try {
    await talk.ask({ execute: "migrate_cancel" });
    for (;;) {
      const { status } = await progress(talk);
      if (!["setup", "active", "cancelling", "device"].includes(status)) return;
      await pause();
    }
  } catch {
    // It is gone, and said why to whoever has it.
  }
}

async function progress(talk: QemuTalk): Promise<{ status: string; why: string }> {
  const found = await talk.ask({ execute: "query-migrate" });
  if (!isObject(found)) return { status: "", why: "" };
  const { status, "error-desc": why } = found;
  return {
    status: typeof status === "string" ? status : "",
    why: typeof why === "string" ? why : "",
  };
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, STEP_MS));
}
