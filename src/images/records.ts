/**
 * What is remembered of images that were pulled.
 *
 * @module
 */
import type { ImageConfig } from "./config.ts";
import type { Platform } from "./platform.ts";

/** One layer of a pulled image. */
export interface LayerRecord {
  /** Digest of the blob as stored. */
  readonly digest: string;
  /** Size of the blob in bytes. */
  readonly size: number;
  readonly mediaType: string;
  /** Digest of the uncompressed layer. */
  readonly diffId: string;
}

/** A pulled image; plain JSON. */
export interface ImageRecord {
  /** Canonical reference with its scheme, such as `registry:docker.io/library/debian:12`. */
  readonly reference: string;
  /** Digest of the manifest. */
  readonly digest: string;
  readonly platform: Platform;
  readonly config: ImageConfig;
  /** The lowest first. */
  readonly layers: readonly LayerRecord[];
  /** Sum of the blobs' sizes in bytes, each counted once. */
  readonly size: number;
  /** ISO 8601. */
  readonly pulledAt: string;
}

/** Where records are kept. */
export interface ImageRecords {
  /** Keeps a record; its reference now means its digest. */
  put(record: ImageRecord): void | Promise<void>;
  /** The image that a canonical reference with its scheme means now. */
  get(reference: string): ImageRecord | undefined | Promise<ImageRecord | undefined>;
  /**
   * An image by its manifest's digest; found also when its reference means another one by now,
   * since boxes are pinned to digests.
   */
  getByDigest(digest: string): ImageRecord | undefined | Promise<ImageRecord | undefined>;
  /** What every reference means now, ordered by reference. */
  list(): readonly ImageRecord[] | Promise<readonly ImageRecord[]>;
}

/** Records that go with the program. */
export class MemoryImageRecords implements ImageRecords {
  readonly #byReference = new Map<string, ImageRecord>();
  readonly #byDigest = new Map<string, ImageRecord>();

  put(record: ImageRecord): void {
    this.#byReference.set(record.reference, record);
    this.#byDigest.set(record.digest, record);
  }

  get(reference: string): ImageRecord | undefined {
    return this.#byReference.get(reference);
  }

  getByDigest(digest: string): ImageRecord | undefined {
    return this.#byDigest.get(digest);
  }

  list(): readonly ImageRecord[] {
    return [...this.#byReference.values()]
      .sort((a, b) => a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0);
  }
}
