/**
 * Images from disks: `disk:PATH`, `disk:PATH?format=raw`, `disk:PATH?partition=2`.
 *
 * @module
 */
import {
  definePlugin,
  DISK_TYPE,
  type DiskContent,
  HutchError,
  type ImageSource,
  nextDataOf,
  packDisk,
  type Plugin,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import { DiskFile } from "./disk/disk_file.ts";
import { findRoot, partOf } from "./disk/partitions.ts";
import { QCOW2_MAGIC, Qcow2Disk } from "./disk/qcow2.ts";
import { localImage } from "./local/image.ts";
import {
  formatPathReference,
  invalidReference,
  parsePathReference,
  type PathReference,
} from "./local/reference.ts";

/** Options of {@link diskSource}. */
export interface DiskSourceOptions {
  /**
   * Content of a disk that isn't zeros, at most, in bytes; a larger file may give as much as it has
   * itself. A qcow2 file can hold the same piece many times over. @default {64 GiB}
   */
  readonly maxBytes?: number;
}

/**
 * A plugin with the source `disk`: raw and qcow2 disks with ext4 (ext2, ext3), XFS or btrfs, bare or
 * in the largest such partition of a GPT or MBR. A box grows any of them to the size of its own disk.
 *
 * Its content is copied, without the holes, and kept in a form of hutch's own, whatever it was before:
 * nothing that is in it, or that a box writes, is ever taken for a disk's format again. Without
 * `format` a file is a qcow2 disk if it begins like one: say `format=raw` of a disk that somebody
 * else's machine wrote. qcow2 disks with backing files, encryption, or data in other files are
 * refused.
 *
 * @example
 * ```ts
 * import { diskSource } from "./disk.ts";
 * const plugin = diskSource();
 * ```
 */
export function diskSource(options: DiskSourceOptions = {}): Plugin {
  const source: ImageSource = {
    canonical: (reference) => formatPathReference(parse(reference)),
    open: (request) => open(request, options.maxBytes ?? 64 * 2 ** 30),
  };
  return definePlugin({ name: "disk", sources: { disk: source } });
}

function parse(reference: string): PathReference {
  const parsed = parsePathReference(reference, ["format", "partition"]);
  const { format, partition } = Object.fromEntries(parsed.options);
  if (format !== undefined && format !== "raw" && format !== "qcow2") {
    throw invalidReference(reference, "its format isn't raw or qcow2");
  }
  if (partition !== undefined && !/^[1-9]\d{0,3}$/.test(partition)) {
    throw invalidReference(reference, "its partition isn't a number from 1");
  }
  return parsed;
}

async function open({ reference, signal }: SourceRequest, limit: number): Promise<SourceImage> {
  const { path, options } = parse(reference);
  const partition = options.get("partition");
  if (signal.aborted) {
    throw new HutchError("cancelled", `Cannot open disk ${path}: it was cancelled`, {
      cause: signal.reason,
    });
  }
  using stack = new DisposableStack();
  const file = stack.use(await DiskFile.open(path));
  const whole = await contentOf(path, file, options.get("format"));
  const root = await findRoot(whole, partition === undefined ? undefined : Number(partition));
  const packed = await packDisk(partOf(whole, root), {
    signal,
    maxBytes: Math.max(limit, file.length),
  });
  const kept = stack.move();
  return localImage({ ...packed, mediaType: DISK_TYPE }, {
    name: file.name,
    close: () => kept.dispose(),
  });
}

/** The format is decided here and never again: what is kept has hutch's own. */
async function contentOf(
  path: string,
  file: DiskFile,
  format: string | undefined,
): Promise<DiskContent> {
  const head = new Uint8Array(4);
  await file.read(0, head);
  const looksLikeQcow2 = new DataView(head.buffer).getUint32(0) === QCOW2_MAGIC;
  if (format === "qcow2" || (format === undefined && looksLikeQcow2)) {
    return await Qcow2Disk.open(file);
  }
  return {
    name: file.name,
    sizeBytes: Math.ceil(file.length / 512) * 512,
    read: (offset, into) => file.read(offset, into),
    // By its path, since Deno's files have no such call; `check` says when it is another file by now.
    nextData: (offset) => Promise.resolve(nextDataOf(path, offset)),
    check: () => file.check(),
  };
}
