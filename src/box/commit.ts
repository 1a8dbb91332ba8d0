/**
 * Making an image of a box.
 *
 * @module
 */
import { DiskDiff } from "../../ffi/helper.ts";
import type { ImageConfigChange } from "../images/manage/add_layer.ts";
import { checkCwd, checkEnv } from "./config.ts";
import type { Consistency } from "../state/snapshot_rows.ts";
import type { BoxContext } from "./context.ts";
import type { BoxDiskFiles } from "./disk_files.ts";
import { readBoxDisk } from "./read_disk.ts";

/** Options of `Box.commit`. */
export interface CommitOptions {
  /** What the image's configuration has that its base's hasn't. @default {nothing} */
  readonly config?: ImageConfigChange;
  /** What the image's history says of it. @default {a word about the box} */
  readonly message?: string;
  /** Who made it. @default {nobody} */
  readonly author?: string;
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

/** An image that was made of a box. */
export interface CommitResult {
  /** What it is called, with its scheme. */
  readonly reference: string;
  /** Digest of its manifest. */
  readonly digest: string;
  /** The new layer; null when the box has nothing that its image hasn't. */
  readonly layer: {
    /** Digest of the blob, which is compressed. */
    readonly digest: string;
    /** Its size in bytes. */
    readonly size: number;
    /** Digest of the layer before it was compressed. */
    readonly diffId: string;
    /** How many entries it has. */
    readonly entries: number;
    /** How many of them hide what the image below has. */
    readonly whiteouts: number;
  } | null;
  /** Sockets that were left out: a layer can't hold them. */
  readonly sockets: number;
  /** As of `ExportResult`. */
  readonly consistency: Consistency;
}

/** Commits a box; see `Box.commit`. */
export async function commitBox(
  context: BoxContext,
  id: string,
  reference: string,
  { signal, config = {}, message, author }: CommitOptions & { readonly signal: AbortSignal },
): Promise<CommitResult> {
  checkEnv(config.env ?? {});
  if (config.workingDir !== undefined) checkCwd(config.workingDir);
  const { imageManager } = context;
  imageManager.checkName(reference);
  return await readBoxDisk(context, id, {
    operation: "commit",
    signal,
    open: (files) => openDiff(files, signal),
    async use({ record, consistency, disk }) {
      const counts = disk?.diff.counts ?? { entries: 0, whiteouts: 0, sockets: 0 };
      const made = await imageManager.addLayer({
        base: record.config.image.digest,
        layer: disk && counts.entries > 0 ? disk.diff.bytes() : undefined,
        whole: disk?.whole ?? false,
        config,
        message: message ?? `hutch commit ${record.config.name}`,
        author,
      }, { reference, signal });
      const { entries, whiteouts, sockets } = counts;
      return {
        reference: made.record.reference,
        digest: made.record.digest,
        layer: made.layer && { ...made.layer, entries, whiteouts },
        sockets,
        consistency,
      };
    },
  });
}

/** What the box has over its image. */
async function openDiff(
  { files, base }: BoxDiskFiles,
  signal: AbortSignal,
): Promise<{ readonly diff: DiskDiff; readonly whole: boolean } & Disposable> {
  // An image that is a disk has no layers: what the box has is one of its own.
  const whole = base.format === "qcow2";
  const diff = await DiskDiff.open(files, { signal, whole });
  return { diff, whole, [Symbol.dispose]: () => diff[Symbol.dispose]() };
}
