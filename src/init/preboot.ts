/**
 * Where booting takes long, a machine's boot is done once: the memory of a guest that has booted and is
 * nobody's yet is kept, and later boxes with a machine like it go on from there in place of booting.
 *
 * Kept in `system/booted`, a folder each, named by a digest of all that must be the same. A box's start
 * links the files into the box's folder, which the engine's runner takes away when it has loaded them.
 * Nothing here can fail a start: where it doesn't work, the machine boots.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { linkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { boxLibraryPath, netPath } from "../../ffi/library.ts";
import { exists, removeIfThere } from "../atomic_file.ts";
import { createOverlay, diskSize } from "../disk/qcow2.ts";
import { errorText } from "../errors.ts";
import { FileLock } from "../file_lock.ts";
import { GuestClient } from "../guest/client.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import { boxPaths } from "../runtime/paths.ts";
import type {
  Engine,
  EngineReport,
  MachineMemory,
  MachineResume,
  MachineSpec,
} from "../vmm/engine.ts";
import { checkMemory, memoryFiles, readMemory, sealMemory, shapeOf } from "../vmm/kept_memory.ts";
import { type BoxProcess, startBoxProcess, untilEnded } from "../vmm/machine.ts";
import type { StartContext } from "./context.ts";

/** So many are kept, the last used ones: a kept guest of 256 MiB takes about 45 MiB of disk. */
const KEEP = 8;
/** How long it isn't tried again after it has failed twice, in `ms`. */
const AGAIN_MS = 3_600_000;
/** How long a guest may take to boot for it, in `ms`. */
const BOOT_MS = 30_000;
/** Has the agent leave the box's disk alone: there is none yet (`TO_BE_KEPT` in `ffi/agent/main.c`). */
const TO_BE_KEPT = " HUTCH_KEPT=1";
/** The system's disk and the box's own. */
const DISKS = 2;
/** Where one is made. */
const MAKING = "making";
/** Names of the folders. */
const KEPT = /^[0-9a-f]{32}$/;

/** What a preboot is made with. */
export type PrebootContext = Pick<StartContext, "paths" | "signal" | "preboot" | "log">;

/** A machine that is about to start. */
export interface PrebootMachine {
  readonly engine: Engine;
  readonly report: EngineReport;
  readonly spec: Omit<MachineSpec, "engine">;
}

/** Where a machine's boot is kept, or will be. */
export interface Preboot {
  /** What the machine goes on from; undefined when it has to boot. */
  readonly resume: MachineResume | undefined;
  /** Called when the machine has booted: the next one like it goes on from a kept one. */
  booted(): Promise<void>;
  /** Called when the machine couldn't go on from it. */
  failed(error: unknown): Promise<void>;
}

/**
 * Looks for a machine's boot, and keeps one when such a machine has booted before.
 *
 * @param own The box's, whose lock the caller holds.
 * @returns Undefined for a machine that has to boot in any case.
 */
export async function preboot(
  context: PrebootContext,
  machine: PrebootMachine,
  own: LayoutOutput,
): Promise<Preboot | undefined> {
  const { engine, report, spec } = machine;
  await removeIfThere(bootFolder(own)); // of a start that died
  if (!context.preboot || !report.preboots || !engine.memory) return undefined;
  if (spec.shares || spec.disks.length !== DISKS) return undefined;
  const booted = join(context.paths.system, "booted");
  let folder = booted;
  let mark: Mark | undefined;
  let resume: MachineResume | undefined;
  const failed = async (error: unknown) => {
    resume = undefined;
    context.signal.throwIfAborted();
    context.log(`the boot kept in ${folder} can't be used: ${errorText(error)}`);
    await removeIfThere(bootFolder(own)).catch(() => {});
    if (folder === booted) return;
    await removeIfThere(folder).catch(() => {});
    mark = { failures: (mark?.failures ?? 0) + 1, atMs: Date.now() };
    await writeMark(folder, mark).catch(() => {});
  };
  try {
    folder = join(booted, await keyOf(machine));
    await sweep(booted);
    mark = await readMark(folder);
    if (mark && isWorthATry(mark) && !await exists(folder)) {
      await keep(context, { ...machine, memory: engine.memory }, folder);
    }
    if (await exists(folder)) resume = await link(folder, bootFolder(own));
  } catch (error) {
    await failed(error);
  }
  return {
    get resume() {
      return resume;
    },
    failed,
    async booted() {
      if (folder === booted || mark && (!resume || mark.failures === 0)) return;
      try {
        await Deno.mkdir(booted, { recursive: true, mode: 0o700 });
        await writeMark(folder, { failures: 0, atMs: Date.now() });
      } catch (error) {
        context.log(`can't keep boots in ${booted}: ${errorText(error)}`);
      }
    },
  };
}

/** Says, in a file beside the folder, that a machine of this kind has booted. */
interface Mark {
  /** How often keeping its boot, or going on from it, has failed since it last went well. */
  readonly failures: number;
  /** When it was written, in `ms` since 1970. */
  readonly atMs: number;
}

/** One failure may be of a program that was updated; a second one in a row is worth no more boots soon. */
function isWorthATry({ failures, atMs }: Mark): boolean {
  return failures < 2 || Math.abs(Date.now() - atMs) > AGAIN_MS;
}

function markPath(folder: string): string {
  return `${folder}.seen`;
}

async function readMark(folder: string): Promise<Mark | undefined> {
  try {
    const { failures, atMs } = JSON.parse(await Deno.readTextFile(markPath(folder)));
    return { failures: Number(failures), atMs: Number(atMs) };
  } catch {
    return undefined; // it isn't there, or was being written
  }
}

async function writeMark(folder: string, mark: Mark): Promise<void> {
  await Deno.writeTextFile(markPath(folder), JSON.stringify(mark));
}

function bootFolder({ folder }: LayoutOutput): string {
  return join(folder, "booted");
}

/**
 * Names all that a kept machine and one that goes on from it have in common, but for what the engine's
 * runner looks at itself (`marks`).
 */
async function keyOf({ engine, report, spec }: PrebootMachine): Promise<string> {
  const { kernel, disks: [system, own], cpus, memoryMiB, network } = spec;
  if (!system || !own) throw new Error("a machine without its disks");
  const same = [
    ...[engine.name, report.parts],
    ...[basename(kernel.path), kernel.commandLine, basename(system.path)], // both named by digests
    ...[cpus, memoryMiB, network?.mtu ?? 0, await diskSize(own)],
  ];
  return createHash("sha256").update(JSON.stringify(same)).digest("hex").slice(0, 32);
}

/** Links the files into the box's folder. */
async function link(from: string, to: string): Promise<MachineResume> {
  const memory = await readMemory(from);
  await checkMemory(from, memory);
  const [there, here] = [memoryFiles(from), memoryFiles(to)];
  await Deno.mkdir(to, { mode: 0o700 });
  for (const key of ["ramPath", "statePath"] as const) linkSync(there[key], here[key]);
  const now = new Date();
  await Deno.utime(there.recordPath, now, now); // the last used ones stay
  return { ramPath: here.ramPath, statePath: here.statePath, marks: memory.marks, folder: to };
}

/** Undefined while another program keeps a boot. */
function lockOf(booted: string): FileLock | undefined {
  return FileLock.try(join(booted, "keeping.lock"));
}

/** Removes what a program left that died while it kept a boot. */
async function sweep(booted: string): Promise<void> {
  const making = join(booted, MAKING);
  if (!await exists(making)) return;
  using lock = lockOf(booted);
  if (lock) await removeIfThere(making);
}

/** Boots a machine and keeps its memory; does nothing while another program does so. */
async function keep(
  context: PrebootContext,
  machine: PrebootMachine & { readonly memory: MachineMemory },
  folder: string,
): Promise<void> {
  const booted = dirname(folder);
  using lock = lockOf(booted);
  if (!lock || await exists(folder)) return;
  const making = join(booted, MAKING);
  const id = crypto.randomUUID().replaceAll("-", "").slice(0, 12);
  const own = boxPaths({ ...context.paths, boxes: making }, id);
  try {
    await Deno.mkdir(own.memoryFolder, { recursive: true, mode: 0o700 });
    await keepIn(context, machine, own, id);
    await Deno.rename(own.memoryFolder, folder);
    await pruneBoots(booted);
  } finally {
    await removeIfThere(making);
  }
}

async function keepIn(
  { signal }: PrebootContext,
  { engine, report, memory, spec }: PrebootMachine & { readonly memory: MachineMemory },
  own: LayoutOutput,
  id: string,
): Promise<void> {
  const [system, disk] = spec.disks;
  if (!system || !disk) return;
  await createOverlay({
    path: own.diskPath,
    backingPath: system.path, // whatever: nobody reads it
    backingFormat: "raw",
    sizeBytes: await diskSize(disk),
    clusters: [],
  });
  const { kernel, cpus, memoryMiB, network } = spec;
  const { consolePath, channelPath, controlPath, folder } = own;
  const kept: MachineSpec = {
    ...{ id, cpus, memoryMiB, consolePath, channelPath, controlPath, folder },
    kernel: { path: kernel.path, commandLine: kernel.commandLine + TO_BE_KEPT },
    disks: [system, { path: own.diskPath, format: "qcow2", readOnly: false, below: [system.path] }],
    network: network && { ...network, socketPath: own.networkSocketPath },
    engine: report.parts,
  };
  const process = await startBoxProcess({
    plan: {
      ...{ folder, channelPath, controlPath, consolePath },
      ...{ socketPath: own.socketPath, lockPath: own.lockPath, exitPath: own.exitPath },
      library: boxLibraryPath(),
      runner: engine.runner,
      engine: report.parts,
      log: { folder: own.outputFolder, maxBytes: 1_000_000, files: 1 },
      network: network && {
        ...{ program: netPath(), socketPath: own.networkSocketPath },
        ...{ controlPath: own.networkControlPath, macAddress: network.macAddress },
      },
    },
    permissions: report.permissions,
  }, {
    spec: kept,
    limits: { maxDurationMs: null, idleTimeoutMs: null },
    orders: network ? ["mode nat"] : [],
    signal,
  });
  await using _end = ending(process, own);
  await using _client = await GuestClient.connect(own.socketPath, { signal, timeoutMs: BOOT_MS });
  const handle = { pid: process.pid, controlPath };
  await engine.pauser?.pause(handle);
  const files = memoryFiles(own.memoryFolder);
  const marks = await memory.save(handle, { ...files, memoryMiB, signal });
  const about = { engine: engine.name, marks, machine: shapeOf(kept), held: [] };
  await sealMemory(own.memoryFolder, about);
}

function ending(process: BoxProcess, { lockPath }: LayoutOutput): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      process.kill();
      await process.ended();
      await untilEnded(lockPath);
    },
  };
}

/**
 * Removes those that were used longest ago.
 *
 * @param booted The folder of all.
 */
export async function pruneBoots(booted: string): Promise<void> {
  const found: { readonly path: string; readonly usedMs: number }[] = [];
  for await (const { name } of Deno.readDir(booted)) {
    if (!KEPT.test(name)) continue;
    const path = join(booted, name);
    const status = await Deno.stat(memoryFiles(path).recordPath).catch(() => undefined);
    found.push({ path, usedMs: status?.mtime?.getTime() ?? 0 });
  }
  found.sort((a, b) => b.usedMs - a.usedMs);
  for (const { path } of found.slice(KEEP)) {
    await removeIfThere(path);
    await removeIfThere(markPath(path));
  }
}
