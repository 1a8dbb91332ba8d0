/**
 * Orders to a running QEMU from the programs that use a box.
 *
 * @module
 */
import {
  HutchError,
  type MachineDiskSwitch,
  type MachineHandle,
  type MachineMemory,
  type MachinePauser,
} from "../../mod.ts";
import {
  isObject,
  qemuMarks,
  type QemuOrder,
  QemuRefused,
  type QemuTalk,
  talkToQemu,
} from "./qemu_control.ts";
import { saveMemory } from "./qemu_memory.ts";

/** Pauses machines by QEMU's own `stop` and `cont`: the box process goes on. */
export const qemuPauser: MachinePauser = {
  async pause(machine) {
    await ask(machine, "stop");
  },
  async resume(machine) {
    await ask(machine, "cont");
  },
  async isPaused(machine) {
    const answer = await ask(machine, "query-status");
    return isObject(answer) && answer.running === false;
  },
};

/** Puts an overlay on top of a disk by `blockdev-snapshot`, which first writes out what it has. */
export const qemuDiskSwitch: MachineDiskSwitch = {
  switchDisk: ({ controlPath }, { disk, path }) =>
    talkToQemu(controlPath, async (talk) => {
      try {
        await switchDisk(talk, disk, path);
        return undefined;
      } catch (error) {
        if (error instanceof QemuRefused) return error.message;
        throw error;
      }
    }),
};

/**
 * The file is a node of its own, and stays open for writing when its disk is left: QEMU would open one
 * that is only a part of its disk's node again, by the name that it had, which is another file's by then.
 */
async function switchDisk(talk: QemuTalk, disk: number, path: string): Promise<void> {
  const node = await topNode(talk, disk);
  const overlay = `disk${disk}-${crypto.randomUUID().slice(0, 8)}`;
  const file = `${overlay}-file`;
  const add = (options: Readonly<Record<string, unknown>>) =>
    talk.ask({ execute: "blockdev-add", arguments: { ...options, discard: "unmap" } });
  const added: string[] = [];
  try {
    await add({ driver: "file", "node-name": file, filename: path });
    added.unshift(file);
    await add({ driver: "qcow2", "node-name": overlay, backing: null, file });
    added.unshift(overlay);
    await talk.ask({ execute: "blockdev-snapshot", arguments: { node, overlay } });
  } catch (error) {
    if (error instanceof QemuRefused) {
      for (const name of added) {
        await talk.ask({ execute: "blockdev-del", arguments: { "node-name": name } });
      }
    }
    throw error;
  }
}

/** Keeps memory by a migration to this program, which takes the guest's memory out of the stream. */
export const qemuMemory: MachineMemory = {
  async save({ controlPath }, order) {
    try {
      return await talkToQemu(controlPath, async (talk) => {
        const marks = await qemuMarks(talk);
        await saveMemory(talk, { controlPath }, order);
        return marks;
      });
    } catch (cause) {
      if (cause instanceof HutchError || order.signal.aborted) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new HutchError("box_state", `Cannot keep its memory: ${why}`, { cause });
    }
  },
};

/** What the guest writes to now; by the name that the runner gives a disk's device. */
async function topNode(talk: QemuTalk, disk: number): Promise<string> {
  const devices = await talk.ask({ execute: "query-block" });
  for (const device of Array.isArray(devices) ? devices : []) {
    if (!isObject(device) || !isObject(device.inserted)) continue;
    const { "node-name": node } = device.inserted;
    if (typeof node !== "string" || typeof device.qdev !== "string") continue;
    if (device.qdev.split("/").includes(deviceName(disk))) return node;
  }
  throw new QemuRefused(`QEMU has no disk ${disk} of this name: it was started by an older hutch`);
}

/** The name of a disk's device. */
export function deviceName(disk: number): string {
  return `device${disk}`;
}

/** What QEMU returns for one command. */
async function ask({ controlPath }: MachineHandle, execute: string): Promise<unknown> {
  const order: QemuOrder = { execute };
  try {
    return await talkToQemu(controlPath, (talk) => talk.ask(order));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new HutchError("box_state", `Cannot tell QEMU to ${execute}: ${why}`, { cause });
  }
}
