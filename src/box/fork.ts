/**
 * Boxes that go on from a snapshot's memory.
 *
 * Each gets links of the files, which the snapshot's removal doesn't touch, in its folder: nobody needs
 * to know who uses what. Its first start loads them and takes the links away.
 *
 * @module
 */
import { linkSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { asNoSpace, isNoSpace, removeIfThereSync } from "../atomic_file.ts";
import { errorText, HutchError } from "../errors.ts";
import { findSnapshot } from "./find_snapshot.ts";
import { FileLock } from "../file_lock.ts";
import { backingPath, OverlayPlacer } from "../init/box_disk.ts";
import { parsePorts } from "../network/ports.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import type { SnapshotRecord } from "../state/snapshot_rows.ts";
import { memoryFiles, readMemory } from "../vmm/kept_memory.ts";
import { optionsOf } from "./archive/config.ts";
import type { Box } from "./box.ts";
import { cloneConfig } from "./clone.ts";
import { checkOptions, healthOf } from "./config.ts";
import type { BoxContext } from "./context.ts";
import type { FromOptions, SnapshotReference } from "./from_options.ts";
import { holdBox } from "./hold.ts";
import type { BoxConfig, BoxOptions } from "./options.ts";
import { memoryFolder } from "./take_memory.ts";

/** Options that may differ from what the box of the snapshot had. */
const OWN_KEYS = [
  "name",
  "hostname",
  "labels",
  "env",
  "cwd",
  "user",
  "ports",
  "autoRemove",
  "detached",
  "bootTimeoutMs",
  "maxDurationMs",
  "idleTimeoutMs",
  "restart",
  "health",
  "signal",
] as const satisfies (keyof BoxOptions)[];
const OWN: ReadonlySet<string> = new Set(OWN_KEYS);
/** Of these, what is between a box and the program that makes it. */
const MAKERS: ReadonlySet<string> = new Set(["autoRemove", "detached", "signal"]);

/** A box that is about to be recorded. */
export interface Fork {
  readonly config: BoxConfig;
  /** Records it, or gives the box that has its name. */
  readonly record: () => BoxRecord | undefined;
}

/**
 * Prepares a box that goes on from a snapshot, and has `add` record it. Plugins are asked as for any box
 * that is made; what they change counts where the box's maker could have asked for it.
 *
 * @throws HutchError `box_not_found`, `snapshot_not_found`, `snapshot_unusable`, `invalid_option`,
 * `no_space`; what `add` throws.
 */
export async function forkBox(
  context: BoxContext,
  { signal, ...options }: FromOptions & { readonly signal: AbortSignal },
  add: (fork: Fork) => Promise<Box>,
): Promise<Box> {
  const { box, snapshot: name } = referenceOf(options.from);
  const source = context.records.find(box);
  // Meanwhile the snapshot stays, and its disk where it is.
  using held = await holdBox(context, source.config.id, "clone");
  const { config: of } = held.record;
  const snapshot = findSnapshot(context.disks, of, name);
  if (!snapshot.memory) throw withoutMemory(of.name, name);
  const folder = memoryFolder(context, of.id, snapshot.id);
  const memory = await readMemory(folder);
  const asked = { ...of, diskMiB: snapshot.diskMiB, engine: memory.engine };
  const shown = `${of.name}/${name}`;
  checkAgainst(asked, options, shown);
  const planned = forkConfig(asked, options);
  const input = optionsOf(planned);
  return await context.plugins.run("create", input, { signal, name: planned.name }, (wanted) => {
    const config = wanted === input ? planned : changedFork(planned, wanted, shown);
    return make(context, { config, folder, snapshot, source: of.id }, add);
  });
}

/** Makes its folder, and what is in there. */
async function make(
  context: BoxContext,
  { config, folder, snapshot, source }: {
    readonly config: BoxConfig;
    /** Where the memory is. */
    readonly folder: string;
    readonly snapshot: SnapshotRecord;
    /** Id of the box that the snapshot is of. */
    readonly source: string;
  },
  add: (fork: Fork) => Promise<Box>,
): Promise<Box> {
  const own = boxPaths(context.paths, config.id);
  await Deno.mkdir(own.folder, { recursive: true, mode: 0o700 });
  // Until it is recorded: nobody clears the folder away.
  using _lock = FileLock.try(own.operationLockPath);
  try {
    link(folder, own.memoryFolder);
    const record = () => context.records.addClones([config], snapshot.backing);
    const made = await add({ config, record });
    makeDisk(context, config, snapshot.backing);
    const values = context.secretValues.get(source);
    if (values) context.secretValues.set(config.id, values);
    return made;
  } catch (error) {
    if (!context.records.byId(config.id)) removeIfThereSync(own.folder);
    throw asNoSpace(error, own.folder);
  }
}

function link(from: string, to: string): void {
  Deno.mkdirSync(to, { mode: 0o700 });
  const [there, here] = [memoryFiles(from), memoryFiles(to)];
  try {
    for (const key of ["ramPath", "statePath", "recordPath"] as const) {
      linkSync(there[key], here[key]);
    }
  } catch (error) {
    if (isNoSpace(error)) throw error;
    throw new HutchError(
      "snapshot_unusable",
      `Cannot go on from kept memory: its files can't be linked: ${errorText(error)}`,
      { cause: error },
    );
  }
}

/** Where that can't be done now, the box's first start does it. */
function makeDisk(context: BoxContext, config: BoxConfig, backing: string | null): void {
  if (backing === null) return;
  const { diskPath } = boxPaths(context.paths, config.id);
  const below = { path: backingPath(context.paths, backing), format: "qcow2" } as const;
  try {
    new OverlayPlacer(diskPath, below, config.diskMiB * 2 ** 20).place(diskPath);
  } catch (error) {
    context.log(`box "${config.name}": its disk is yet to be made: ${errorText(error)}`);
  }
}

function referenceOf(from: FromOptions["from"]): SnapshotReference {
  const [box, snapshot, more] = typeof from === "string"
    ? from.split("/")
    : [from?.box, from?.snapshot];
  if (isName(box) && isName(snapshot) && more === undefined) return { box, snapshot };
  throw new HutchError(
    "invalid_option",
    `Cannot go on from ${JSON.stringify(from)}: it is no BOX/SNAPSHOT`,
    { hint: "hutch snapshot ls BOX lists a box's snapshots" },
  );
}

/** Not every caller's types are checked. */
function isName(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** Says no to what the memory is of. */
function checkAgainst(
  source: BoxConfig,
  { from: _from, ...options }: FromOptions,
  shown: string,
): void {
  const { cpus, memoryMiB, diskMiB } = checkOptions({
    image: source.image.reference,
    ...{ cpus: source.cpus, memory: source.memoryMiB, disk: source.diskMiB },
    ...options,
  });
  const same: Readonly<Record<string, readonly [asked: unknown, has: unknown]>> = {
    image: [options.image, source.image.reference],
    cpus: [cpus, source.cpus],
    memory: [memoryMiB, source.memoryMiB],
    disk: [diskMiB, source.diskMiB],
    engine: [options.engine, source.engine],
    network: [options.network, source.network.mode],
  };
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || OWN.has(key)) continue;
    const [asked, has] = same[key] ?? [];
    if (same[key] && asked === has) continue;
    throw new HutchError(
      "invalid_option",
      same[key]
        ? `Cannot go on from ${shown} with another ${key}: what runs there has ${has}, not ${asked}`
        : `Cannot go on from ${shown} with ${key}: that is as it was when the memory was kept`,
      { hint: `leave ${key} out, or make a box of the disk alone (hutch clone --snapshot)` },
    );
  }
}

function forkConfig(source: BoxConfig, options: FromOptions): BoxConfig {
  const { name, env = {}, detached = false } = options;
  const config = cloneConfig(source, name, options.labels);
  const autoRemove = options.autoRemove ?? name === undefined;
  return {
    ...withOwn(config, { ...options, env: { ...config.exec.env, ...env } }),
    ...{ autoRemove, owned: autoRemove && !detached },
  };
}

/**
 * The configuration with what plugins made of its options.
 *
 * @throws HutchError `invalid_option`
 */
function changedFork(config: BoxConfig, wanted: BoxOptions, shown: string): BoxConfig {
  const before = new Map(Object.entries(optionsOf(config)));
  const changes = Object.entries(wanted).filter(([key, value]) =>
    value !== undefined && !isDeepStrictEqual(value, before.get(key))
  );
  const changed: BoxOptions = { image: config.image.reference, ...Object.fromEntries(changes) };
  for (const [key] of changes) if (!OWN.has(key) || MAKERS.has(key)) throw notAsked(shown, key);
  checkOptions(changed);
  const { name = config.name, labels = config.labels } = changed;
  return { ...withOwn(config, changed), name, labels: { ...labels } };
}

function notAsked(shown: string, key: string): HutchError {
  return new HutchError(
    "invalid_option",
    `Cannot go on from ${shown} with the ${key} that a plugin asks for: it is as it was when the memory was kept`,
    {
      hint:
        "make a box of the disk alone (hutch clone --snapshot), or keep the memory of one that has it",
    },
  );
}

function withOwn(config: BoxConfig, options: Partial<BoxOptions>): BoxConfig {
  const { ports, health } = options;
  return {
    ...config,
    hostname: options.hostname ?? config.hostname,
    network: ports ? { ...config.network, ports: parsePorts(ports) } : config.network,
    bootTimeoutMs: options.bootTimeoutMs ?? config.bootTimeoutMs,
    maxDurationMs: options.maxDurationMs ?? config.maxDurationMs,
    idleTimeoutMs: options.idleTimeoutMs ?? config.idleTimeoutMs,
    restart: options.restart ?? config.restart,
    health: health === undefined ? config.health : healthOf(health),
    exec: {
      env: { ...options.env ?? config.exec.env },
      cwd: options.cwd ?? config.exec.cwd,
      user: options.user ?? config.exec.user,
    },
  };
}

function withoutMemory(box: string, snapshot: string): HutchError {
  return new HutchError(
    "snapshot_unusable",
    `Cannot go on from snapshot ${JSON.stringify(snapshot)} of box "${box}": it has the disk alone`,
    { hint: "take it with memory (--memory), or make a clone of it (hutch clone --snapshot)" },
  );
}
