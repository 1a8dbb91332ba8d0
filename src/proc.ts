/**
 * What `/proc` tells of processes. Linux alone has it: elsewhere nothing is known.
 *
 * @module
 */

/** Length of the kernel's clock tick for programs, in `ms`: 100 ticks a second on all Linux. */
const TICK_MS = 10;

/** Some of what `/proc/PID/stat` says. */
export interface ProcessStat {
  /** When it was started, in ticks since the host's boot: with the number, tells processes apart. */
  readonly startTick: number;
  /** How long ago that was, in `ms`. */
  readonly ageMs: number;
  /** Processor time of all its threads, and of children that it has waited for, in `ms`. */
  readonly cpuMs: number;
}

/** A process, or undefined if there is none with this number. */
export function processStat(pid: number): ProcessStat | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name is in parentheses and may hold anything, parentheses and spaces included.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  const [user = 0, system = 0, userOfChildren = 0, systemOfChildren = 0] = fields.slice(11, 15);
  const startTick = fields[19];
  if (startTick === undefined || !Number.isFinite(startTick)) return undefined;
  const uptimeMs = Number(read("/proc/uptime")?.split(" ")[0] ?? 0) * 1000;
  return {
    startTick,
    ageMs: Math.max(0, uptimeMs - startTick * TICK_MS),
    cpuMs: (user + system + userOfChildren + systemOfChildren) * TICK_MS,
  };
}

/** Numbers of the processes that a process started and that live, however deep; itself first. */
export function processTree(pid: number): readonly number[] {
  const found = new Set([pid]);
  for (const one of found) {
    for (const task of list(`/proc/${one}/task`)) {
      const children = read(`/proc/${one}/task/${task}/children`) ?? "";
      for (const child of children.split(" ")) if (child !== "") found.add(Number(child));
    }
  }
  return [...found];
}

/** Memory of a process that is in memory now. Sizes are in bytes. */
export interface ProcessMemory {
  /** What it shares with others counts by its share: the sum over processes is what they use. */
  readonly residentBytes: number;
  /** What of it no other process has: freed when it ends. */
  readonly privateBytes: number;
  /** What is in mappings for data of the very size asked for; undefined if there is none. */
  readonly mappedBytes: number | undefined;
}

/** A mapping's heading in `smaps`: its addresses and rights. */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) (..)(.)/;

/**
 * The memory of a process, or undefined if it is gone or somebody else's.
 *
 * @param mapped Size of the mappings for data whose pages are counted apart, in bytes.
 */
export function processMemory(pid: number, mapped: number): ProcessMemory | undefined {
  const text = read(`/proc/${pid}/smaps`);
  if (!text) return undefined;
  const sum = { residentBytes: 0, privateBytes: 0 };
  let mappedBytes: number | undefined;
  let asked = false;
  for (const line of text.split("\n")) {
    const [, from, to, rights, execute] = MAPPING.exec(line) ?? [];
    if (from !== undefined && to !== undefined) {
      // Code that an emulator makes is in mappings that may be executed.
      asked = rights === "rw" && execute === "-" &&
        parseInt(to, 16) - parseInt(from, 16) === mapped;
      continue;
    }
    const [, name, kib] = /^(Pss|Private_Clean|Private_Dirty): *(\d+) kB$/.exec(line) ?? [];
    if (name === undefined) continue;
    const bytes = Number(kib) * 1024;
    if (name !== "Pss") sum.privateBytes += bytes;
    else {
      sum.residentBytes += bytes;
      if (asked) mappedBytes = (mappedBytes ?? 0) + bytes;
    }
  }
  return { ...sum, mappedBytes };
}

/** This process, told from every other one that there was since the host's boot. */
export function thisProcess(): string {
  return `${Deno.pid}.${processStat(Deno.pid)?.startTick ?? 0}`;
}

/** Whether the process that {@link thisProcess} named lives; true where that can't be known. */
export function isProcessAlive(process: string): boolean {
  const [pid, startTick] = process.split(".").map(Number);
  if (pid === undefined || !startTick) return true;
  return processStat(pid)?.startTick === startTick;
}

function read(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined; // it has ended, or isn't ours to know
  }
}

function list(path: string): readonly string[] {
  try {
    return [...Deno.readDirSync(path)].map(({ name }) => name);
  } catch {
    return [];
  }
}
