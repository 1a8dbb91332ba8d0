/**
 * A start that goes on from kept memory, in place of booting: of a box that `Runtime.create({ from })`
 * made. Its files are in the box's own folder, until the machine has loaded them; later starts boot.
 *
 * @module
 */
import { exists } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import type { GuestClient } from "../guest/client.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import type { MachineResume, MachineSpec } from "../vmm/engine.ts";
import {
  checkMemory,
  checkShape,
  type KeptCommand,
  type KeptMemory,
  memoryFiles,
  readMemory,
} from "../vmm/kept_memory.ts";

/** Bytes of the seed of a guest's random numbers. */
const SEED_BYTES = 64;

/** Memory that a start goes on from. */
export interface Kept {
  readonly memory: KeptMemory;
  readonly resume: MachineResume;
}

/**
 * The memory that a box is to go on from; undefined when it boots.
 *
 * @throws HutchError `snapshot_unusable`.
 */
export async function keptMemory({ memoryFolder }: LayoutOutput): Promise<Kept | undefined> {
  if (!await exists(memoryFolder)) return undefined;
  const memory = await readMemory(memoryFolder);
  const { ramPath, statePath } = memoryFiles(memoryFolder);
  const { marks } = memory;
  return { memory, resume: { ramPath, statePath, marks, folder: memoryFolder } };
}

/**
 * Looks whether a machine can go on from there.
 *
 * @throws HutchError `snapshot_unusable`.
 */
export async function checkKept(
  { memory }: Kept,
  { memoryFolder }: LayoutOutput,
  spec: Omit<MachineSpec, "engine"> & { readonly engine: string },
): Promise<void> {
  if (spec.engine !== memory.engine) {
    throw new HutchError(
      "snapshot_unusable",
      `Cannot go on from kept memory: it is of the engine ${memory.engine}, not ${spec.engine}`,
    );
  }
  checkShape(memory, spec);
  await checkMemory(memoryFolder, memory);
}

/**
 * Makes a guest that goes on the box that it is now. Commands that were held go on, held by this box's
 * process.
 *
 * @returns Time spent, in `ms`.
 */
export async function goOn(
  client: GuestClient,
  { hostname, mac, held, signal }: {
    readonly hostname: string;
    readonly mac: string | undefined;
    readonly held: readonly KeptCommand[];
    readonly signal: AbortSignal;
  },
): Promise<number> {
  const from = performance.now();
  // By the box process, which takes its time: what nobody has adopted ends with the other request.
  await Promise.all(held.map((each) => adopt(client, each, signal)));
  const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES)).toHex();
  const device = mac === undefined ? {} : { mac };
  const request = { op: "resume", hostname, clockMs: Date.now(), seed, ...device } as const;
  await client.request(request, { signal });
  return Math.round((performance.now() - from) * 10) / 10;
}

/** One that ended in the very moment isn't there any more. */
async function adopt(
  client: GuestClient,
  command: KeptCommand,
  signal: AbortSignal,
): Promise<void> {
  const stream = client.adopt(command, { signal });
  try {
    await stream.reply;
  } catch (error) {
    if (!(error instanceof HutchError) || error.code !== "command_not_found") {
      throw new HutchError("guest_failed", errorText(error), { cause: error });
    }
  } finally {
    await stream.close();
  }
}
