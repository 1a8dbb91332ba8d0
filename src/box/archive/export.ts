/**
 * Writing a box into one file.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { DiskChain, nextDataOf } from "../../../ffi/helper.ts";
import { writeArchive } from "../../images/manage/save.ts";
import { tarEnd, tarHeader, tarPadding } from "../../images/manage/tar_header.ts";
import type { Consistency } from "../../state/snapshot_rows.ts";
import { VERSION } from "../../version.ts";
import type { BoxContext } from "../context.ts";
import type { BoxDiskFiles } from "../disk_files.ts";
import { type ReadBox, readBoxDisk } from "../read_disk.ts";
import { compressed } from "./compress.ts";
import { diskDigest } from "./disk_digest.ts";
import { bytesToRead, diskPieces } from "./disk_pieces.ts";
import {
  type ArchivedBlob,
  type ArchiveEnd,
  type ArchiveHead,
  blobName,
  END_NAME,
  FORMAT,
  FORMAT_VERSION,
  HEAD_NAME,
  pieceName,
} from "./format.ts";

/** How far an export or import is. */
export interface ArchiveProgress {
  /** Bytes of image and disk that were read or written. */
  readonly done: number;
  /** Of so many; left out where nobody knows yet. */
  readonly total?: number;
}

/** Options of `Box.export`. */
export interface ExportOptions {
  /**
   * Whether the image goes along, so that the box can be imported where nobody can pull it.
   * @default {true}
   */
  readonly image?: boolean;
  /** Ends the work. */
  readonly signal?: AbortSignal;
  /** Told as it goes on. */
  readonly onProgress?: (progress: ArchiveProgress) => void;
}

/** What an export wrote. */
export interface ExportResult {
  /** Length of the archive in bytes. */
  readonly bytes: number;
  /** Data of the box's disk in it, in bytes, before they were compressed. */
  readonly diskBytes: number;
  /** How the disk came to be. */
  readonly consistency: Consistency;
}

/** What goes into an archive. */
interface Plan {
  readonly head: ArchiveHead;
  readonly disk: DiskChain | undefined;
  /** Size in bytes of what the disk lies over. */
  readonly below: number;
  /** Bytes of a blob. */
  readonly blob: (blob: ArchivedBlob) => AsyncIterable<Uint8Array<ArrayBuffer>>;
  readonly onRead: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** Exports a box; see `Box.export`. */
export async function exportBox(
  context: BoxContext,
  id: string,
  to: string | WritableStream<Uint8Array<ArrayBuffer>>,
  options: ExportOptions & { readonly signal: AbortSignal },
): Promise<ExportResult> {
  const { signal } = options;
  return await readBoxDisk(context, id, {
    operation: "export",
    signal,
    open: openDisk,
    async use(box) {
      await using resources = new AsyncDisposableStack();
      const plan = await planOf(context, box, { ...options, resources });
      let diskBytes = 0;
      const plain = archiveBytes(plan, (bytes) => diskBytes += bytes);
      const bytes = await writeArchive(compressed(plain), {
        to,
        signal,
        doing: `export box "${box.record.config.name}"`,
      });
      return { bytes, diskBytes, consistency: box.consistency };
    },
  });
}

/** A disk, and what it lies over. */
interface OpenDisk extends Disposable {
  readonly chain: DiskChain;
  readonly base: BoxDiskFiles["base"];
}

function openDisk({ files, base }: BoxDiskFiles): OpenDisk {
  const chain = DiskChain.open(files);
  return { chain, base, [Symbol.dispose]: () => chain[Symbol.dispose]() };
}

async function planOf(
  context: BoxContext,
  { record, consistency, disk }: ReadBox<OpenDisk>,
  { image: withImage = true, signal, onProgress = () => {}, resources }: ExportOptions & {
    readonly signal: AbortSignal;
    readonly resources: AsyncDisposableStack;
  },
): Promise<Plan> {
  const { config } = record;
  const image = withImage
    ? await context.imageManager.open(config.image.digest, signal)
    : undefined;
  if (image) resources.use(image);
  const blobs = image?.blobs ?? null;
  const total = (blobs ?? []).reduce((sum, { size }) => sum + size, 0) +
    (disk ? bytesToRead(disk.chain) : 0);
  using below = disk && DiskChain.open([disk.base]);
  const base = disk && await baseDigest(disk.base, signal);
  let done = 0;
  return {
    head: {
      format: FORMAT,
      version: FORMAT_VERSION,
      writer: `hutch ${VERSION}`,
      box: config,
      image: { ...config.image, blobs },
      disk: disk && base !== undefined ? { sizeBytes: disk.chain.sizeBytes, base } : null,
      consistency,
    },
    disk: disk?.chain,
    below: below?.sizeBytes ?? 0,
    blob: (blob) => image?.read(blob) ?? nothing(),
    onRead: (bytes) => onProgress({ done: done += bytes, total }),
    signal,
  };
}

/**
 * The digest of what an image's disk holds.
 *
 * @throws {HutchError} `state_corrupt`, `cancelled`
 */
export async function baseDigest(
  base: { readonly path: string; readonly format: "raw" | "qcow2" },
  signal: AbortSignal,
): Promise<string> {
  using disk = DiskChain.open([base]);
  const next = (offset: number) => base.format === "raw" ? nextDataOf(base.path, offset) : offset;
  return await diskDigest(disk, { next, signal });
}

/** The whole tar. */
async function* archiveBytes(
  plan: Plan,
  onData: (bytes: number) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const hash = createHash("sha256");
  let pieces = 0;
  const content = contentBytes(plan, (parts) => {
    pieces++;
    for (const { length } of parts.slice(1)) onData(length); // the first is what they are
  });
  for await (const bytes of content) {
    hash.update(bytes);
    yield bytes;
  }
  const end: ArchiveEnd = { sha256: hash.digest("hex"), pieces };
  yield* fileBytes(END_NAME, [json(end)]);
  yield tarEnd();
}

async function* contentBytes(
  { head, disk, below, blob, onRead, signal }: Plan,
  onPiece: (parts: readonly Uint8Array<ArrayBuffer>[]) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  yield* fileBytes(HEAD_NAME, [json(head)]);
  for (const each of head.image.blobs ?? []) {
    yield tarHeader(blobName(each.digest), each.size);
    for await (const bytes of blob(each)) {
      yield bytes;
      onRead(bytes.length);
    }
    yield tarPadding(each.size);
  }
  if (!disk) return;
  let number = 0;
  for await (const parts of diskPieces(disk, { below, signal, onRead })) {
    yield* fileBytes(pieceName(number++), parts);
    onPiece(parts);
  }
}

function* fileBytes(
  name: string,
  parts: readonly Uint8Array<ArrayBuffer>[],
): Generator<Uint8Array<ArrayBuffer>> {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  yield tarHeader(name, size);
  yield* parts;
  yield tarPadding(size);
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

function nothing(): never {
  throw new TypeError("blobs are read of images that go along");
}
