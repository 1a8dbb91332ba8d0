/**
 * A box's own disk, and the backing disks that it leaves behind.
 *
 * A disk becomes a backing disk by two renames: `boxes/BOX/disk.qcow2` to `backing/ID/disk.qcow2`,
 * then `disk.qcow2.next`, an empty overlay over that, to `disk.qcow2`. Both folders are at the same
 * depth, so that what the disk says of the one below stays true. A record is made before, so that
 * nothing is removed that a disk is over; and whoever finds `disk.qcow2.next` does the rest.
 *
 * @module
 */
import { dirname, join, relative } from "node:path";
import { grownExt4 } from "../../ffi/helper.ts";
import { asNoSpace, exists, removeIfThere, removeIfThereSync } from "../atomic_file.ts";
import { Overlay } from "../disk/overlay.ts";
import { createOverlay, diskSize, type OverlayCluster, overlayContent } from "../disk/qcow2.ts";
import { HutchError } from "../errors.ts";
import type { LayoutOutput } from "../plugin/contract.ts";
import type { Paths } from "../runtime/paths.ts";
import type { DiskTable } from "../state/disks.ts";
import type { MachineDisk } from "../vmm/engine.ts";

/** What the functions here work with. */
export interface DiskContext {
  readonly paths: Paths;
  readonly disks: DiskTable;
}

/** One box's disk. */
export interface OwnDisk {
  /** The box's id. */
  readonly id: string;
  readonly own: Pick<LayoutOutput, "folder" | "diskPath">;
  /** Size of the disk as the guest sees it, in `MiB`. */
  readonly diskMiB: number;
}

/** Bytes that are written at once. */
const PIECE = 4096;

/** What a disk is made over. */
type Below = Pick<MachineDisk, "path" | "format">;

/** The file of a backing disk. */
export function backingPath({ backing }: Paths, id: string): string {
  return join(backing, id, "disk.qcow2");
}

/** The overlay that is to be a box's disk, once that is a backing disk. */
export function nextPath({ diskPath }: OwnDisk["own"]): string {
  return `${diskPath}.next`;
}

/**
 * Makes an overlay, whole or not at all, in place of what is there.
 *
 * @param clusters What it holds. @default {nothing}
 * @throws HutchError `no_space`.
 */
export async function placeOverlay(
  path: string,
  below: Below,
  sizeBytes: number,
  clusters: readonly OverlayCluster[] = [],
): Promise<void> {
  const temporary = `${path}.new`;
  try {
    await removeIfThere(temporary); // of a program that was killed here; the box's lock is ours
    await createOverlay({
      path: temporary,
      backingPath: relative(dirname(path), below.path),
      backingFormat: below.format,
      sizeBytes,
      clusters,
    });
    await Deno.rename(temporary, path);
  } catch (error) {
    await removeIfThere(temporary);
    throw asNoSpace(error, path);
  }
}

/** Makes overlays that are alike but for their place; their folders are there, and at the same depth. */
export class OverlayPlacer {
  readonly #pieces: readonly { readonly at: number; readonly bytes: Uint8Array }[];
  readonly #length: number;

  /** @param first Where one of them is to be. */
  constructor(first: string, below: Below, sizeBytes: number) {
    const { head, length } = overlayContent({
      path: first,
      backingPath: relative(dirname(first), below.path),
      backingFormat: below.format,
      sizeBytes,
    });
    // Most of it is zero, and needn't be written.
    this.#pieces = Array.from({ length: head.length / PIECE }, (_, n) => {
      return { at: n * PIECE, bytes: head.subarray(n * PIECE, (n + 1) * PIECE) };
    }).filter(({ bytes }) => bytes.some((byte) => byte !== 0));
    this.#length = length;
  }

  /**
   * Makes one as {@link placeOverlay} does. Blocks: it takes less time than a trip to another thread.
   *
   * @throws HutchError `no_space`.
   */
  place(path: string): void {
    const temporary = `${path}.new`;
    try {
      removeIfThereSync(temporary);
      {
        using file = Deno.openSync(temporary, { write: true, createNew: true, mode: 0o600 });
        for (const { at, bytes } of this.#pieces) {
          file.seekSync(at, Deno.SeekMode.Start);
          for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
        }
        file.truncateSync(this.#length);
      }
      Deno.renameSync(temporary, path);
    } catch (error) {
      removeIfThereSync(temporary);
      throw asNoSpace(error, path);
    }
  }
}

/** The backing disks that a box's disk lies over, the uppermost first; its image's is below them. */
export function filesBelow({ disks, paths }: DiskContext, { id }: OwnDisk): string[] {
  const [backing = null] = disks.backingsOf(id);
  return disks.chain(backing).map((each) => backingPath(paths, each));
}

/**
 * Makes a box's disk, unless it is there; for whoever holds the box.
 *
 * @param image The image's disk.
 */
export async function ensureDisk(
  context: DiskContext,
  disk: OwnDisk,
  image: Below,
): Promise<void> {
  await settleDisk(context, disk);
  if (await exists(disk.own.diskPath)) return;
  const [backing] = context.disks.backingsOf(disk.id);
  const below: Below = backing === undefined
    ? image
    : { path: backingPath(context.paths, backing), format: "qcow2" };
  const least = Math.ceil(await diskSize(below) / 2 ** 20);
  if (disk.diskMiB < least) {
    throw new HutchError(
      "invalid_option",
      `Cannot make a disk of ${disk.diskMiB} MiB: its image needs ${least} MiB`,
      { hint: `give the box a disk of at least ${least}m (--disk)` },
    );
  }
  const sizeBytes = disk.diskMiB * 2 ** 20;
  // Room for a start: the machine takes a while to grow its file system, and does so behind its back.
  const grown = below === image && image.format === "raw" ? grownExt4(image.path, sizeBytes) : [];
  await placeOverlay(disk.own.diskPath, below, sizeBytes, grown);
}

/** Finishes what somebody who died had begun; for whoever holds the box. */
export async function settleDisk(context: DiskContext, disk: OwnDisk): Promise<void> {
  const { own, id } = disk;
  const { disks, paths } = context;
  const next = nextPath(own);
  if (await exists(next)) {
    const backing = backingIdOf(paths, own.folder, next);
    if (backing !== null && disks.get(backing)) await retire(context, disk, backing);
    else await removeIfThere(next); // it was made, and nothing more
  }
  if (!await exists(own.diskPath)) return; // it is yet to be made, over what is recorded
  const actual = backingIdOf(paths, own.folder, own.diskPath);
  const known = disks.backingsOf(id);
  const expected = actual === null ? [] : [actual];
  if (known.length !== expected.length || known[0] !== expected[0]) disks.settle(id, actual);
}

/**
 * The two renames. That they are done also where a machine still writes to the disk is right: it goes
 * on with the same file, and nobody else has it.
 */
export async function retire(
  { paths }: DiskContext,
  { own }: OwnDisk,
  backing: string,
): Promise<void> {
  const path = backingPath(paths, backing);
  if (!await exists(path)) {
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await Deno.rename(own.diskPath, path);
  }
  await Deno.rename(nextPath(own), own.diskPath);
}

/**
 * Makes the disk that was left last the box's own again, unless somebody needs it as it is, or the box
 * has written since; for whoever holds the box, which doesn't run.
 */
export async function putBack(
  context: DiskContext,
  disk: OwnDisk,
  backing: string,
): Promise<void> {
  const { disks, paths } = context;
  await settleDisk(context, disk);
  const { boxes, snapshots, children } = disks.users(backing);
  if (boxes.length !== 1 || boxes[0] !== disk.id || snapshots.length + children.length > 0) return;
  if (!isPristine(disk.own.diskPath)) return;
  const path = backingPath(paths, backing);
  using file = await Deno.open(path);
  if (!file.tryLockSync(true)) return; // it is being read
  const parent = disks.get(backing)?.parent ?? null;
  await Deno.rename(path, disk.own.diskPath);
  disks.settle(disk.id, parent);
  await collectDisks(context);
}

/** Which backing disk a disk is over, by what is written in it; null for the image's. */
export function backingIdOf(paths: Paths, folder: string, path: string): string | null {
  using overlay = new Overlay(path);
  const below = join(folder, overlay.header.backingPath);
  const [, id] = /^([0-9a-f]{12})\/disk\.qcow2$/.exec(relative(paths.backing, below)) ?? [];
  return id ?? null;
}

/** Whether a disk reads as what is below it; one that isn't there does. */
export function isPristine(path: string): boolean {
  try {
    using overlay = new Overlay(path);
    return overlay.isEmpty();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    throw error;
  }
}

/**
 * Removes the backing disks that nobody needs.
 *
 * @throws What removing their files throws; then the next sweep does it.
 */
export async function collectDisks({ paths, disks }: DiskContext): Promise<void> {
  for (const id of disks.collect(() => keptDisks(paths))) {
    await removeIfThere(join(paths.backing, id));
  }
}

/** Where a repair names the disks that boxes need which it couldn't restore. */
export function keptPath({ backing }: Paths): string {
  return join(backing, "kept.json");
}

function keptDisks(paths: Paths): ReadonlySet<string> {
  try {
    const list: unknown = JSON.parse(Deno.readTextFileSync(keptPath(paths)));
    return new Set(Array.isArray(list) ? list.map(String) : []);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Set();
    throw error;
  }
}

/** Removes what has no record: of programs that were killed between forgetting and removing. */
export async function sweepDisks(context: DiskContext): Promise<void> {
  const { paths, disks } = context;
  await collectDisks(context);
  const found: string[] = [];
  try {
    for await (const { name } of Deno.readDir(paths.backing)) found.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  if (found.length === 0) return;
  const known = disks.ids(); // after the folders, which are made after their records
  for (const name of found) {
    if (/^[0-9a-f]{12}$/.test(name) && !known.has(name)) {
      await removeIfThere(join(paths.backing, name));
    }
  }
}
