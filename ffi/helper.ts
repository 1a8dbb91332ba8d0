/**
 * What the host needs from C, with types: see `ffi/helper/helper.h`.
 *
 * @module
 */
import { type Confinement, confinementOf } from "./confine.ts";
import { helper } from "./library.ts";
import { errnoName } from "./result.ts";

export {
  CopyFailure,
  type CopyFlag,
  copyFlags,
  type CopyOwner,
  HostCopy,
  type HostCopyOptions,
  type TreeEntry,
} from "./copy.ts";
export { decodeFile, type DecoderFormat } from "./decoder.ts";
export { checkLimits, Ext4Image, IMAGE_LIMITS, type ImageLimits, isLimit } from "./ext4_image.ts";
export { DiskChain, type DiskFile, type DiskRun } from "./disk_chain.ts";
export { DiskDiff, type DiskDiffOptions } from "./disk_diff.ts";
export { FolderTar, type FolderTarOptions, type OwnerRange } from "./folder_tar.ts";
export { grownExt4 } from "./ext4_growth.ts";
export { nextDataOf } from "./holes.ts";
export { type KernelImage, readKernel } from "./kernel.ts";

/** Result of {@link probeKvm}. */
export interface KvmCountdown {
  /** Name of what failed: `ETIMEDOUT` at the limit, `ENOENT`, `EACCES`, …; undefined if nothing did. */
  readonly error: string | undefined;
  /** Time of the countdown in `ms`. */
  readonly ms: number;
}

/** How box processes can be confined here. */
export interface ConfinementReport extends Confinement {
  /** Version of Landlock's interface; 0 without. */
  readonly landlockVersion: number;
}

/**
 * Asks the kernel what it has to confine processes.
 *
 * @throws HutchError `part_missing` when the helper isn't there
 */
export function confinementSupport(): ConfinementReport {
  const bits = helper().hutch_confine_support();
  return { ...confinementOf(bits & 0xff), landlockVersion: bits >>> 8 };
}

/** A busy machine may take the processor away for longer than the limit, but hardly every time. */
const TRIES = 3;

/**
 * Runs a guest that counts down from 100,000 in real mode on `/dev/kvm`. It takes 0.1 to 1 ms on a
 * KVM that works, over 80 ms on one that emulates. Tried up to three times while it reaches the
 * limit.
 *
 * @param limitMs When to give up, in `ms`.
 * @throws HutchError `part_missing` when the helper isn't there
 */
export async function probeKvm(limitMs: number): Promise<KvmCountdown> {
  for (let tries = 1;; tries++) {
    const micros = new BigUint64Array(1);
    const result = await helper().hutch_kvm_probe(limitMs, micros);
    const ms = Number(micros[0] ?? 0n) / 1000;
    const error = result < 0 ? errnoName(result) : undefined;
    if (error !== "ETIMEDOUT" || tries === TRIES) return { error, ms };
  }
}
