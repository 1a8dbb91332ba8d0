/**
 * The files that a box's disk is made of.
 *
 * @module
 */
import { exists } from "../atomic_file.ts";
import { type ChainFile, diskFiles } from "../disk/chain.ts";
import { HutchError } from "../errors.ts";
import { boxPaths } from "../runtime/paths.ts";
import type { BoxContext } from "./context.ts";
import type { BoxConfig } from "./options.ts";

/** A box's disk, which nobody writes to meanwhile. */
export interface BoxDiskFiles {
  /** The uppermost first; the last is `base`. */
  readonly files: readonly ChainFile[];
  /** The disk of the box's image. */
  readonly base: ChainFile;
}

/**
 * Finds them, down to the disk of the box's image; undefined for a box that never ran.
 *
 * @throws HutchError `state_corrupt` when they lead elsewhere.
 */
export async function boxDiskFiles(
  { paths, baseDisk }: Pick<BoxContext, "paths" | "baseDisk">,
  { id, name, image }: BoxConfig,
  signal: AbortSignal,
): Promise<BoxDiskFiles | undefined> {
  const { diskPath } = boxPaths(paths, id);
  if (!await exists(diskPath)) return undefined;
  const { boxes, backing, disks, blobs } = paths;
  const files = await diskFiles(diskPath, [boxes, backing, disks, blobs]);
  const { path, format } = await baseDisk(image.digest, signal);
  const base: ChainFile = { path: await Deno.realPath(path), format };
  const lowest = files.at(-1);
  if (lowest?.path === base.path && lowest.format === base.format) return { files, base };
  throw new HutchError(
    "state_corrupt",
    `Cannot read the disk of box "${name}": it lies over ${lowest?.path}, which isn't its image's`,
  );
}
