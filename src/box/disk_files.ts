/**
 * The files that a box's disk is made of.
 *
 * @module
 */
import { type ChainFile, diskFiles } from "../disk/chain.ts";
import { HutchError } from "../errors.ts";
import type { BoxContext } from "./context.ts";
import type { BoxConfig } from "./options.ts";

/** A disk that nobody writes to. */
export interface BoxDiskFiles {
  /** The uppermost first; the last is `base`. */
  readonly files: readonly ChainFile[];
  /** The disk of the box's image. */
  readonly base: ChainFile;
}

/**
 * Finds the files of a disk that a box has or had, down to the disk of the box's image.
 *
 * @throws HutchError `state_corrupt` when they lead elsewhere.
 */
export async function boxDiskFiles(
  { paths, baseDisk }: Pick<BoxContext, "paths" | "baseDisk">,
  { name, image }: BoxConfig,
  { path: top, signal }: { readonly path: string; readonly signal: AbortSignal },
): Promise<BoxDiskFiles> {
  const { boxes, backing, disks, blobs } = paths;
  const files = await diskFiles(top, [boxes, backing, disks, blobs]);
  const { path, format } = await baseDisk(image.digest, signal);
  const base: ChainFile = { path: await Deno.realPath(path), format };
  const lowest = files.at(-1);
  if (lowest?.path === base.path && lowest.format === base.format) return { files, base };
  throw new HutchError(
    "state_corrupt",
    `Cannot read the disk of box "${name}": it lies over ${lowest?.path}, which isn't its image's`,
  );
}
