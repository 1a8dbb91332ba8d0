/**
 * Base disks: one file for each image, shared by its boxes.
 *
 * @module
 */
import { join } from "node:path";
import { asNoSpace, exists, removeIfThere, syncPath } from "../../atomic_file.ts";
import { asReason, type ErrorCode, HutchError } from "../../errors.ts";
import type { BlobStore } from "../blobs/blob_store.ts";
import { digestHex } from "../digest.ts";
import { isDiskImage } from "../manifest.ts";
import { checkPackedDisk } from "./packed_disk.ts";
import type { PullListener } from "../pull/pull.ts";
import type { ImageRecord, LayerRecord } from "../records.ts";
import { sweepFolder } from "../blobs/sweep.ts";
import { lockFile } from "../wait.ts";

/** What a base disk is made from. */
export interface BaseDiskRequest {
  /** The lowest first; each file is verified already, its contents aren't. */
  readonly layers: readonly {
    readonly path: string;
    readonly mediaType: string;
    readonly diffId: string;
  }[];
  /** Text that the file system's UUID is derived from: the manifest's digest. */
  readonly uuidFrom: string;
  /** The file to write; it doesn't exist yet. */
  readonly output: string;
  readonly signal: AbortSignal;
  /** Called with how many bytes of the layers' files were used. */
  readonly onProgress?: (bytes: number) => void;
}

/** A base disk: read by boxes, written by nobody. */
export interface BaseDisk {
  readonly path: string;
  readonly format: "raw" | "qcow2";
}

/** Makes and syncs a base disk; throws `digest_mismatch` when a layer hasn't its diff ID. */
export type BuildBaseDisk = (request: BaseDiskRequest) => Promise<unknown>;

/** What {@link BaseDisks} work with. */
export interface BaseDisksOptions {
  /** The folder that they are in. */
  readonly disks: string;
  readonly blobs: BlobStore;
  readonly build: BuildBaseDisk;
  /** Fetches layers that went missing. */
  readonly ensureBlobs: (record: ImageRecord, options: DiskOptions) => Promise<void>;
}

/** Options of what may make a disk. */
export interface DiskOptions {
  readonly signal: AbortSignal;
  readonly onProgress?: PullListener;
}

/** Codes of errors that don't name the image. */
const OF_IMAGES: ReadonlySet<ErrorCode> = new Set([
  "invalid_image",
  "digest_mismatch",
  "limit_exceeded",
  "no_space",
]);

/** Makes base disks; of several programs that want the same one, one works. */
export class BaseDisks {
  readonly #options: BaseDisksOptions;

  /** Makes nothing yet. */
  constructor(options: BaseDisksOptions) {
    this.#options = options;
  }

  /** The disk of an image that is made already, and isn't a layer's own file. */
  async made(digest: string): Promise<BaseDisk | undefined> {
    const path = this.#path(digest);
    return await exists(path) ? { path, format: "raw" } : undefined;
  }

  /** An image's disk, made when it isn't there; whether or not the image is recorded. */
  async disk(record: ImageRecord, options: DiskOptions): Promise<BaseDisk> {
    if (!isDiskImage(record)) return { path: await this.make(record, options), format: "raw" };
    const { blobs, ensureBlobs } = this.#options;
    using use = await blobs.use(options.signal);
    use.name([record.digest, ...record.layers.map(({ digest }) => digest)]);
    await ensureBlobs(record, options);
    return { path: await this.check(record), format: "qcow2" };
  }

  /** Removes unfinished disks of programs that died. */
  async sweep(): Promise<void> {
    await sweepFolder(
      this.#options.disks,
      0,
      (name) => name.endsWith(".new") ? name.slice(0, -".new".length) : undefined,
    );
  }

  /** The path of an image's base disk, made if nobody has; whether or not the image is recorded. */
  async make(
    record: ImageRecord,
    options: DiskOptions,
  ): Promise<string> {
    const { digest } = record;
    const { disks } = this.#options;
    const path = this.#path(digest);
    let cached = await exists(path);
    try {
      if (!cached) {
        await Deno.mkdir(disks, { recursive: true, mode: 0o700 });
        using _lock = await lockFile(`${path}.lock`, options.signal, () => {
          options.onProgress?.({ type: "disk.waiting", digest });
        });
        cached = await exists(path); // somebody else was faster
        if (!cached) await this.#build(record, path, options);
      }
    } catch (error) {
      throw named(asNoSpace(error, path), record);
    }
    options.onProgress?.({ type: "disk.done", digest, path, cached });
    return path;
  }

  /** The file of an image that is a disk, which must be in the one form that engines may open. */
  async check({ reference, layers }: ImageRecord): Promise<string> {
    const [layer] = layers;
    if (!layer) throw new TypeError("the image of a disk has a layer");
    const path = this.#options.blobs.path(layer.digest);
    try {
      await checkPackedDisk(path);
      return path;
    } catch (error) {
      if (!(error instanceof HutchError)) throw error;
      throw new HutchError(error.code, `Cannot use ${reference}: ${error.message}`, {
        cause: error,
        hint: "make the image of the disk itself (disk:PATH)",
      });
    }
  }

  #path(digest: string): string {
    return join(this.#options.disks, `${digestHex(digest)}.ext4`);
  }

  /** Builds into a temporary name; once more when a blob turns out to have been changed. */
  async #build(
    record: ImageRecord,
    path: string,
    options: DiskOptions,
  ): Promise<void> {
    using use = await this.#options.blobs.use(options.signal);
    use.name([record.digest, ...record.layers.map(({ digest }) => digest)]);
    for (let attempt = 0;; attempt++) {
      await this.#options.ensureBlobs(record, options);
      const output = `${path}.new`;
      try {
        await removeIfThere(output); // of a program that died: we hold the lock
        const request = this.#request(record, output, options);
        request.onProgress(0);
        await this.#options.build(request);
        request.onProgress(sizeOf(record.layers));
        await syncPath(output);
        await Deno.rename(output, path);
        await syncPath(this.#options.disks);
        return;
      } catch (error) {
        await removeIfThere(output);
        const suspect = error instanceof HutchError &&
          (error.code === "digest_mismatch" || error.code === "invalid_image");
        if (!suspect || attempt > 0 || !await this.#removeChanged(record, options.signal)) {
          throw error;
        }
      }
    }
  }

  #request(
    { layers, digest }: ImageRecord,
    output: string,
    { signal, onProgress }: DiskOptions,
  ): BaseDiskRequest & Required<Pick<BaseDiskRequest, "onProgress">> {
    const total = sizeOf(layers);
    return {
      layers: layers.map((layer) => ({
        path: this.#options.blobs.path(layer.digest),
        mediaType: layer.mediaType,
        diffId: layer.diffId,
      })),
      uuidFrom: digest,
      output,
      signal,
      onProgress: (done) => onProgress?.({ type: "disk", digest, done, total }),
    };
  }

  async #removeChanged({ layers }: ImageRecord, signal: AbortSignal): Promise<boolean> {
    let removed = false;
    for (const { digest } of layers) {
      if (await this.#options.blobs.removeIfChanged(digest, signal)) removed = true;
    }
    return removed;
  }
}

/** What is wrong with an image or its place, with the image's name: a layer's digest says little. */
function named(error: unknown, { reference }: ImageRecord): unknown {
  if (!(error instanceof HutchError) || !OF_IMAGES.has(error.code)) return error;
  const { code, hint, message } = error;
  return new HutchError(code, `Cannot make the disk of ${reference}: ${asReason(message)}`, {
    cause: error,
    ...hint === undefined ? {} : { hint },
  });
}

/** What layers have in all, in bytes. */
function sizeOf(layers: readonly LayerRecord[]): number {
  return layers.reduce((sum, { size }) => sum + size, 0);
}
