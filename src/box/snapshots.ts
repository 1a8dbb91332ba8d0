/**
 * A box's snapshots: its disk as it was at moments of its life.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { asNoSpace, removeIfThereSync } from "../atomic_file.ts";
import { changedBlocks } from "../disk/changes.ts";
import {
  backingPath,
  collectDisks,
  isPristine,
  placeOverlay,
  settleDisk,
} from "../init/box_disk.ts";
import { findSnapshot } from "./find_snapshot.ts";
import type { SnapshotInput } from "../plugin/contract.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxRecord } from "../state/boxes.ts";
import { snapshotTaken } from "../state/disks.ts";
import type { SnapshotRecord } from "../state/snapshot_rows.ts";
import { memoryFiles } from "../vmm/kept_memory.ts";
import type { Box } from "./box.ts";
import { randomId } from "./config.ts";
import type { BoxContext } from "./context.ts";
import { holdBox } from "./hold.ts";
import { checkSnapshotLabels, checkSnapshotName } from "./snapshot_check.ts";
import type {
  SnapshotCreated,
  SnapshotDiff,
  SnapshotInfo,
  SnapshotOptions,
  SnapshotRestored,
  SnapshotRestoreOptions,
} from "./snapshot_options.ts";
import { ownDisk, takeDisk } from "./take_disk.ts";
import { memoryFolder, MemoryTake, sweepMemory } from "./take_memory.ts";

/** What {@link Snapshots} does with its box. */
export interface SnapshotPort {
  readonly box: Box;
  /** Stops it, and keeps it even if it removes itself. */
  stop(): Promise<void>;
}

/**
 * The snapshots of a box. Each is a disk that nobody writes to any more, shared by all that came of
 * it: taking one copies nothing where the engine can go on in a new file (QEMU; any box that doesn't
 * run). On libkrun the disk of a running box is copied while it stands still, without its holes, and
 * at no cost where the file system shares blocks (btrfs, XFS). They go with the box; clones stay.
 *
 * @example
 * ```ts
 * import { Runtime } from "@hutch/hutch";
 * await using runtime = await Runtime.open();
 * await using box = await runtime.create({ image: "builtin:busybox" });
 * await box.sh`echo one > /note`;
 * const { consistency, pausedMs } = await box.snapshots.create("first");
 * console.log(consistency, pausedMs); // filesystem 12.3
 * await box.sh`echo two > /note`;
 * await box.snapshots.restore("first", { stop: true });
 * console.log(await box.sh`cat /note`.text()); // one
 * ```
 */
export class Snapshots {
  readonly #context: BoxContext;
  readonly #port: SnapshotPort;

  /** Made by `Box.snapshots`. */
  constructor(context: BoxContext, port: SnapshotPort) {
    this.#context = context;
    this.#port = port;
  }

  /**
   * Takes a snapshot of the box's own disk, running or not; its volumes aren't in it. File systems of
   * one that runs are frozen first, if they can be. With `memory` it holds what the box was doing, too.
   *
   * @param name 1 to 63 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit.
   * @throws HutchError `name_taken`, `invalid_option` (also where memory can't be kept), `no_space`,
   * `freeze_failed` where standing still was required, `box_state`, `box_not_found`, `cancelled`.
   */
  async create(name: string, options: SnapshotOptions = {}): Promise<SnapshotCreated> {
    const { labels = {}, consistency = "best", memory = false } = options;
    const { plugins } = this.#context;
    const signals = [this.#context.signal, ...options.signal ? [options.signal] : []];
    const signal = AbortSignal.any(signals);
    const input = { name, labels, consistency, memory };
    return await plugins.run(
      "snapshot",
      input,
      { signal, box: this.#port.box },
      async (asked) => {
        checkSnapshotName(asked.name);
        checkSnapshotLabels(asked.labels);
        using held = await this.#hold("snapshot");
        signal.throwIfAborted();
        await sweepMemory(this.#context, held.record.config.id);
        return await this.#take(held.record, asked, signal);
      },
    );
  }

  /** All of them, the oldest first. */
  async list(): Promise<SnapshotInfo[]> {
    return await Promise.all(
      this.#context.disks.snapshots(this.#port.box.id).map((record) => this.#infoOf(record)),
    );
  }

  /**
   * Finds a snapshot by its name.
   *
   * @throws HutchError `snapshot_not_found`.
   */
  async get(name: string): Promise<SnapshotInfo> {
    return await this.#infoOf(this.#known(name));
  }

  /**
   * Removes a snapshot. What other snapshots, the box or its clones share of it stays.
   *
   * @throws HutchError `snapshot_not_found`.
   */
  async remove(name: string): Promise<void> {
    using held = await this.#hold("snapshot");
    const { id, box } = this.#known(name);
    const file = this.#fileOf(id);
    this.#context.disks.removeSnapshot(id, () => removeIfThereSync(file));
    await collectDisks(this.#context);
    await sweepMemory(this.#context, box); // boxes that go on from it have links of their own
    const about = { box, name: held.record.config.name };
    this.#context.plugins.emit("snapshot.removed", { ...about, snapshot: name });
    this.#context.shorten(box);
  }

  /**
   * Makes the box's disk what it was. What the disk has now becomes a snapshot of its own before,
   * named `before-NAME-…`, unless `force` is set or nothing was written since. Of a snapshot with memory
   * it takes the disk alone, and the box boots from it: `Runtime.create({ from })` makes boxes that go on.
   *
   * @throws HutchError `snapshot_not_found`, `box_state` when the box runs and isn't to be stopped,
   * `no_space`.
   */
  async restore(name: string, options: SnapshotRestoreOptions = {}): Promise<SnapshotRestored> {
    const { stop = false, force = false } = options;
    this.#known(name);
    if (stop) await this.#port.stop();
    using held = await this.#hold("restore");
    const { record } = held;
    const context = this.#context;
    const snapshot = this.#known(name);
    const disk = ownDisk(context, record);
    await settleDisk(context, disk);
    const safety = force ? undefined : await this.#safety(record, name);
    const { backing } = snapshot;
    const below = backing === null
      ? await context.baseDisk(record.config.image.digest, context.signal)
      : { path: backingPath(context.paths, backing), format: "qcow2" as const };
    // Recorded before it is true, so that nothing is ever removed that the disk is over.
    if (backing !== null) context.disks.attach(disk.id, backing);
    await placeOverlay(disk.own.diskPath, below, record.config.diskMiB * 2 ** 20);
    context.disks.settle(disk.id, backing);
    await collectDisks(context);
    context.plugins.emit("snapshot.restored", {
      ...{ box: disk.id, name: record.config.name, snapshot: name },
      safety: safety?.name ?? null,
    });
    return { snapshot: await this.#infoOf(snapshot), safety: safety ?? null };
  }

  /**
   * What was written since a snapshot: until another one, or until now. Of a box that runs now, what
   * its guest hasn't flushed yet may be missing.
   *
   * @throws HutchError `snapshot_not_found`.
   */
  async diff(
    name: string,
    options: { readonly to?: string | undefined } = {},
  ): Promise<SnapshotDiff> {
    using held = await this.#hold("snapshot");
    const { paths, disks } = this.#context;
    const disk = ownDisk(this.#context, held.record);
    await settleDisk(this.#context, disk);
    const from = disks.chain(this.#known(name).backing);
    const to = options.to === undefined
      ? disks.chain(disks.backingsOf(disk.id)[0] ?? null)
      : disks.chain(this.#known(options.to).backing);
    const differ = [...new Set(from).symmetricDifference(new Set(to))];
    const files = differ.map((id) => backingPath(paths, id));
    if (options.to === undefined && !isPristine(disk.own.diskPath)) files.push(disk.own.diskPath);
    return { from: name, to: options.to ?? null, ...changedBlocks(files) };
  }

  /** A snapshot of what a restore would drop; undefined where that is nothing. */
  async #safety(record: BoxRecord, name: string): Promise<SnapshotInfo | undefined> {
    const { disks } = this.#context;
    const { own, id } = ownDisk(this.#context, record);
    const below = disks.backingsOf(id)[0] ?? null;
    if (isPristine(own.diskPath)) {
      const kept = disks.snapshots(id).some(({ backing }) => backing === below);
      if (kept || below === null) return undefined;
    }
    const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+Z$/g, "");
    const head = `before-${name}`.slice(0, 40);
    const taken = await this.#take(record, {
      name: `${head}-${stamp}-${randomId().slice(0, 4)}`,
      labels: {},
      consistency: "best",
      memory: false,
    }, this.#context.signal);
    return await this.#infoOf(taken);
  }

  async #take(
    record: BoxRecord,
    input: SnapshotInput,
    signal: AbortSignal,
  ): Promise<SnapshotCreated> {
    const { name, labels, consistency } = input;
    const context = this.#context;
    const { id: box, diskMiB } = record.config;
    if (context.disks.snapshot(box, name)) throw snapshotTaken(name);
    const id = randomId();
    await using memory = input.memory
      ? await MemoryTake.begin(context, record, { id, signal })
      : undefined;
    const within = memory && (() => memory.save());
    const { backing, over, report } = await takeDisk(context, record, { consistency, within });
    await memory?.finish();
    const snapshot: SnapshotRecord = {
      ...{ id, box, name, createdAt: new Date().toISOString(), labels },
      ...{ backing, consistency: report.consistency, diskMiB, memory: input.memory },
    };
    const path = this.#fileOf(snapshot.id);
    context.disks.addSnapshot(snapshot, { over, write: () => writeFile(path, snapshot) });
    memory?.done();
    const about = { box, name: record.config.name, snapshot: name };
    context.plugins.emit("snapshot.created", { ...about, consistency: report.consistency });
    context.shorten(box);
    return { ...await this.#infoOf(snapshot), ...report };
  }

  #hold(operation: "snapshot" | "restore") {
    return holdBox(this.#context, this.#port.box.id, operation);
  }

  #known(name: string): SnapshotRecord {
    return findSnapshot(this.#context.disks, this.#port.box, name);
  }

  async #infoOf(record: SnapshotRecord): Promise<SnapshotInfo> {
    const { backing } = record;
    const bytes = backing === null ? 0 : await allocated(backingPath(this.#context.paths, backing));
    const { ramPath, statePath } = memoryFiles(memoryFolder(this.#context, record.box, record.id));
    const memory = record.memory ? [ramPath, statePath] : [];
    const sizes = await Promise.all(memory.map((path) => allocated(path).catch(() => 0)));
    return { ...record, bytes, memoryBytes: sizes.reduce((sum, size) => sum + size, 0) };
  }

  #fileOf(id: string): string {
    return join(boxPaths(this.#context.paths, this.#port.box.id).snapshotsFolder, `${id}.json`);
  }
}

/** Whole or not at all; blocks, since the transaction that it is part of does. */
function writeFile(path: string, record: SnapshotRecord): void {
  const temporary = `${path}.new`;
  try {
    Deno.mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    Deno.writeTextFileSync(temporary, JSON.stringify(record), { mode: 0o600 });
    Deno.renameSync(temporary, path);
  } catch (error) {
    removeIfThereSync(temporary);
    throw asNoSpace(error, path);
  }
}

/** Bytes that a file takes on its disk. */
async function allocated(path: string): Promise<number> {
  const { blocks, size } = await Deno.stat(path);
  return blocks === null ? size : blocks * 512;
}
