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
  /** Media type of the blob. */
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
  /** The machine that it is for. */
  readonly platform: Platform;
  /** What its boxes begin with. */
  readonly config: ImageConfig;
  /** The lowest first. */
  readonly layers: readonly LayerRecord[];
  /** Sum of the blobs' sizes in bytes, each counted once. */
  readonly size: number;
  /** ISO 8601. */
  readonly pulledAt: string;
  /**
   * Digest of what its reference named at its source, which may be an index. Left out where the
   * source didn't tell.
   */
  readonly resolvedDigest?: string;
  /**
   * Where its blobs can be had again: the canonical reference it was pulled by, or null when it came
   * out of a file. Left out where that is `reference`.
   */
  readonly origin?: string | null;
}

/** The canonical reference by which an image can be had again; null when it came out of a file. */
export function originOf({ reference, origin }: Pick<ImageRecord, "reference" | "origin">) {
  return origin === undefined ? reference : origin;
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
  /** Every image that is here, also those that no reference means any more. */
  all(): readonly ImageRecord[] | Promise<readonly ImageRecord[]>;
}

/** A box, as somebody who needs an image. */
export interface ImageUser {
  /** The box's id. */
  readonly id: string;
  /** The box's name. */
  readonly name: string;
}

/** An image that is here, with all that keeps it here. */
export interface ImageEntry {
  readonly record: ImageRecord;
  /** What means it, in order; none when its name has moved on or was taken away. */
  readonly references: readonly string[];
  /** Boxes that are pinned to it, by name. */
  readonly boxes: readonly ImageUser[];
}

/** What is to be forgotten of an image. */
export interface ImageRemoval {
  readonly digest: string;
  readonly references: readonly string[];
  /** Whether the image itself goes. */
  readonly image: boolean;
}

/** Records that images are managed by. */
export interface ImageLedger extends ImageRecords {
  get(reference: string): ImageRecord | undefined;
  getByDigest(digest: string): ImageRecord | undefined;
  list(): readonly ImageRecord[];
  all(): readonly ImageRecord[];
  /**
   * Makes a reference mean an image. Unlike {@link ImageRecords.put}, what is recorded of the image
   * already stays.
   */
  name(record: ImageRecord): void;
  /** Keeps a record of an image, whatever its reference means. */
  pin(record: ImageRecord): void;
  /** All images, or the one with this digest; ordered by digest. */
  entries(digest?: string): readonly ImageEntry[];
  /** How many boxes are pinned to an image, by its digest; those with none are left out. */
  boxCounts(): ReadonlyMap<string, number>;
  /** Digests of all images, and of those that boxes are pinned to though they have no record. */
  digests(): ReadonlySet<string>;
  /**
   * Forgets what `choose` says, in one step with what it was shown; throw in it to forget nothing.
   *
   * @param digest The image to show. @default {all}
   */
  forget(
    choose: (entries: readonly ImageEntry[]) => readonly ImageRemoval[],
    digest?: string,
  ): readonly ImageRemoval[];
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

  all(): readonly ImageRecord[] {
    return [...this.#byDigest.values()];
  }
}
