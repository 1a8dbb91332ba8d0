/**
 * What a disk holds, as a digest that doesn't depend on how its file keeps it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { DiskChain } from "../../../ffi/helper.ts";
import { isZero } from "../../images/base_disk/packed_disk.ts";
import { cancelled } from "../../images/wait.ts";
import { CLUSTER, PIECE_DATA } from "./format.ts";

/**
 * SHA-256 of the disk's size and of its clusters that aren't zeros, each with its place.
 *
 * @param next The first place from an offset on that may hold something: holes are passed over.
 * @throws {HutchError} `state_corrupt`, `cancelled`
 */
export async function diskDigest(
  disk: DiskChain,
  { next, signal }: { readonly next: (offset: number) => number; readonly signal: AbortSignal },
): Promise<string> {
  const { sizeBytes } = disk;
  const hash = createHash("sha256");
  const place = new BigUint64Array([BigInt(sizeBytes)]);
  hash.update(new Uint8Array(place.buffer));
  const buffer = new Uint8Array(PIECE_DATA);
  for (let offset = 0; offset < sizeBytes;) {
    if (signal.aborted) throw cancelled("read a disk", signal);
    const found = next(offset);
    offset = Math.max(offset, found - found % CLUSTER);
    const bytes = buffer.subarray(0, Math.max(0, Math.min(buffer.length, sizeBytes - offset)));
    await disk.read(offset, bytes);
    for (let at = 0; at < bytes.length; at += CLUSTER) {
      const cluster = bytes.subarray(at, at + CLUSTER);
      if (isZero(cluster)) continue;
      place[0] = BigInt(offset + at);
      hash.update(new Uint8Array(place.buffer)).update(cluster);
    }
    offset += bytes.length;
  }
  return `sha256:${hash.digest("hex")}`;
}
