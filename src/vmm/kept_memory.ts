/**
 * The memory of a machine as it is kept in a folder: `ram` and `state`, which the engine writes, and
 * `memory.json`, which says what they are of. All are for the user alone: a guest's memory holds whatever
 * its programs know.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { nextDataOf } from "../../ffi/helper.ts";
import { syncPath, writeAtomically } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { isHeldId } from "../guest/held_messages.ts";
import type { EngineParts, MachineMemoryFiles, MachineSpec } from "./engine.ts";

/** What of a machine must be as it was. */
export interface MachineShape {
  readonly cpus: number;
  readonly memoryMiB: number;
  readonly kernel: string;
  readonly commandLine: string;
  /** Path of the system disk, which the guest runs from. */
  readonly system: string;
  /** How many disks it has, the system's among them. */
  readonly disks: number;
  readonly network: boolean;
}

/** A command that the box process held. */
export interface KeptCommand {
  readonly id: string;
  readonly command: readonly string[];
  readonly tty: boolean;
}

/** `memory.json`. */
export interface KeptMemory {
  readonly format: typeof FORMAT;
  /** The engine's name, and what it wants to be the same. */
  readonly engine: string;
  readonly marks: EngineParts;
  readonly machine: MachineShape;
  readonly held: readonly KeptCommand[];
  readonly ram: KeptFile & {
    /** When it was last written, in `ms` since 1970: one that wasn't touched isn't read through. */
    readonly modifiedMs: number;
  };
  readonly state: KeptFile;
}

/** A file and its contents' SHA-256; of `ram` the pages that aren't zero are hashed, with their numbers. */
interface KeptFile {
  readonly bytes: number;
  readonly digest: string;
}

const FORMAT = 1;
const PAGE = 4096;
const PIECE = 1024 * 1024;

/** The files in a folder. */
export function memoryFiles(folder: string): MachineMemoryFiles & { readonly recordPath: string } {
  return {
    ramPath: join(folder, "ram"),
    statePath: join(folder, "state"),
    recordPath: join(folder, "memory.json"),
  };
}

/** What must be as it was, of a machine's description. */
export function shapeOf(
  { cpus, memoryMiB, kernel, disks, network }: Pick<
    MachineSpec,
    "cpus" | "memoryMiB" | "kernel" | "disks" | "network"
  >,
): MachineShape {
  return {
    ...{ cpus, memoryMiB, kernel: kernel.path, commandLine: kernel.commandLine },
    ...{ system: disks[0]?.path ?? "", disks: disks.length, network: network !== undefined },
  };
}

/** Completes a folder whose `ram` and `state` are written: brings all of it to the disk. */
export async function sealMemory(
  folder: string,
  about: Pick<KeptMemory, "engine" | "marks" | "machine" | "held">,
): Promise<void> {
  const { ramPath, statePath, recordPath } = memoryFiles(folder);
  const kept: KeptMemory = {
    ...{ format: FORMAT, ...about },
    ram: await fileOf(ramPath),
    state: await fileOf(statePath),
  };
  for (const path of [ramPath, statePath]) await syncPath(path);
  await writeAtomically(recordPath, JSON.stringify(kept), { durable: true });
}

async function fileOf(path: string): Promise<KeptMemory["ram"]> {
  const { size, mtime } = await Deno.stat(path);
  return { bytes: size, digest: await digestOf(path), modifiedMs: mtime?.getTime() ?? 0 };
}

/**
 * Reads what a folder says of its memory.
 *
 * @throws HutchError `snapshot_unusable` that says why it can't be used.
 */
export async function readMemory(folder: string): Promise<KeptMemory> {
  try {
    const { recordPath } = memoryFiles(folder);
    const value: unknown = JSON.parse(await Deno.readTextFile(recordPath));
    if (isKept(value)) return value;
    throw new Error("its record isn't one that this hutch knows");
  } catch (error) {
    throw unusable(
      error instanceof Deno.errors.NotFound ? "its memory isn't there any more" : errorText(error),
      error,
    );
  }
}

/**
 * Looks whether the files are as they were written.
 *
 * @throws HutchError `snapshot_unusable`.
 */
export async function checkMemory(folder: string, kept: KeptMemory): Promise<void> {
  const { ramPath, statePath } = memoryFiles(folder);
  try {
    const { size, mtime } = await Deno.stat(ramPath);
    if (size !== kept.ram.bytes) throw new Error("its memory is damaged: it has another length");
    // A copy of the home, say: what is in it counts then.
    if (mtime?.getTime() !== kept.ram.modifiedMs && await digestOf(ramPath) !== kept.ram.digest) {
      throw new Error("its memory is damaged: it has other bytes than were written");
    }
    if (await digestOf(statePath) !== kept.state.digest) {
      throw new Error("its memory is damaged: the state of its devices has other bytes");
    }
  } catch (error) {
    throw unusable(
      error instanceof Deno.errors.NotFound ? "its memory isn't there any more" : errorText(error),
      error,
    );
  }
}

/**
 * Looks whether a machine can go on from there.
 *
 * @throws HutchError `snapshot_unusable` that says what differs.
 */
export function checkShape({ machine }: KeptMemory, spec: Parameters<typeof shapeOf>[0]): void {
  const now = shapeOf(spec);
  const differ = [
    machine.kernel === now.kernel && machine.commandLine === now.commandLine ? "" : "kernel",
    machine.system === now.system ? "" : "agent",
    machine.cpus === now.cpus ? "" : `number of processors (${machine.cpus})`,
    machine.memoryMiB === now.memoryMiB ? "" : `size of memory (${machine.memoryMiB} MiB)`,
    machine.disks === now.disks ? "" : `number of disks (${machine.disks})`,
    machine.network === now.network ? "" : `network (${machine.network ? "one" : "none"})`,
  ].filter((text) => text !== "");
  if (differ.length === 0) return;
  throw unusable(`it was kept with another ${differ.join(", another ")}`);
}

function unusable(why: string, cause?: unknown): HutchError {
  return new HutchError("snapshot_unusable", `Cannot go on from kept memory: ${why}`, {
    hint: "take the snapshot anew; its disk is as good as ever (hutch clone --snapshot)",
    ...cause === undefined ? {} : { cause },
  });
}

/** Pages that are zero don't count, be they holes or not. */
async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  const zeros = new Uint8Array(PAGE);
  const piece = new Uint8Array(PIECE);
  using file = await Deno.open(path);
  const { size } = await file.stat();
  for (let at = 0, length = 0; at < size; at += length) {
    at = Math.floor(nextDataOf(path, at) / PAGE) * PAGE; // behind a hole
    await file.seek(at, Deno.SeekMode.Start);
    length = await fill(file, piece);
    if (length === 0) break;
    for (let from = 0; from < length; from += PAGE) {
      const page = piece.subarray(from, Math.min(length, from + PAGE));
      if (Buffer.compare(page, zeros.subarray(0, page.length)) === 0) continue;
      hash.update(`${at + from}:`).update(page);
    }
  }
  return hash.digest("hex");
}

async function fill(file: Deno.FsFile, piece: Uint8Array): Promise<number> {
  let done = 0;
  while (done < piece.length) {
    const count = await file.read(piece.subarray(done));
    if (count === null) break;
    done += count;
  }
  return done;
}

function isKept(value: unknown): value is KeptMemory {
  if (!isFields(value) || value.format !== FORMAT || typeof value.engine !== "string") return false;
  const { marks, machine, held, ram, state } = value;
  return isFields(marks) && Object.values(marks).every((each) => typeof each === "string") &&
    isShape(machine) && Array.isArray(held) && held.every(isCommand) && isFile(ram) &&
    typeof ram.modifiedMs === "number" && isFile(state);
}

/** Whether a value from a file is a shape. */
export function isShape(value: unknown): value is MachineShape {
  return isFields(value) &&
    ["cpus", "memoryMiB", "disks"].every((key) => typeof value[key] === "number") &&
    ["kernel", "commandLine", "system"].every((key) => typeof value[key] === "string") &&
    typeof value.network === "boolean";
}

function isCommand(value: unknown): value is KeptCommand {
  return isFields(value) && isHeldId(value.id) && Array.isArray(value.command) &&
    value.command.every((word) => typeof word === "string") && typeof value.tty === "boolean";
}

function isFile(value: unknown): value is KeptFile & Readonly<Record<string, unknown>> {
  return isFields(value) && typeof value.bytes === "number" && typeof value.digest === "string";
}

function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
