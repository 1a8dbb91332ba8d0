/**
 * Gives ext4 images room for a start, beside themselves.
 *
 * @module
 */
import { helper } from "./library.ts";
import { cString, unwrap } from "./result.ts";

/** Bytes of a cluster, and how many there are at most; as `helper.h` has it. */
const CLUSTER = 1 << 16;
const CLUSTERS = 16;

/** A piece of a disk. */
export interface DiskCluster {
  /** Where it begins, in bytes; a multiple of 64 KiB. */
  readonly at: number;
  /** 64 KiB. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/**
 * What changes in an image of `Ext4Image` when its file system has a GiB more, or what its disk has: by
 * place, and empty when the disk isn't larger than the image, or the image is somebody else's or larger
 * than 8 GiB. The image stays as it is, and whoever runs with it grows it to the disk's size.
 *
 * @throws HutchError `part_missing`, `home_unusable` when the image can't be read.
 */
export function grownExt4(path: string, sizeBytes: number): readonly DiskCluster[] {
  const places = new BigUint64Array(CLUSTERS);
  const clusters = new Uint8Array(CLUSTERS * CLUSTER);
  const result = helper().hutch_ext4_grow(cString(path), BigInt(sizeBytes), places, clusters);
  const count = unwrap(result, `read image ${path}`);
  return Array.from(places.subarray(0, count), (at, index) => ({
    at: Number(at),
    bytes: clusters.subarray(index * CLUSTER, (index + 1) * CLUSTER),
  })).sort((a, b) => a.at - b.at);
}
