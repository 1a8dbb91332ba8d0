/**
 * What an archive of a box looks like: a zstd stream (frames in a row, each with its checksum) of a tar
 * with these files, in this order and no others:
 *
 * - `hutch.json`: {@link ArchiveHead}.
 * - `blobs/sha256/HEX`: of the image, if it goes along: its manifest, its configuration, its layers.
 * - `disk/NNNNNNNN`: what the box's disk holds over its image's, piece by piece: how many runs (u64),
 *   then for each where it begins, its length and its kind ({@link RUN_DATA}, {@link RUN_ZEROS}), all
 *   in bytes as u64, then the data of those that have some. Runs are whole clusters, in ascending order.
 * - `end.json`: {@link ArchiveEnd}.
 *
 * Numbers are little-endian. Whoever changes what this means makes the version larger.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { Consistency } from "../../state/snapshot_rows.ts";

/** What the archive says that it is. */
export const FORMAT = "hutch-box";
/** Of what this program writes; newer ones are refused. */
export const FORMAT_VERSION = 1;
/** The first and the last file. */
export const HEAD_NAME = "hutch.json";
/** See {@link HEAD_NAME}. */
export const END_NAME = "end.json";
/** Largest of those two files, in bytes. */
export const DOCUMENT_LIMIT = 4 * 2 ** 20;
/** Unit of runs, in bytes. */
export const CLUSTER = 64 * 1024;
/** Most data in a piece of the disk, in bytes. */
export const PIECE_DATA = 4 * 2 ** 20;
/** Most runs in a piece. */
export const PIECE_RUNS = 4096;
/** A run whose data follow. */
export const RUN_DATA = 1n;
/** A run that reads as zeros. */
export const RUN_ZEROS = 2n;
/** Largest disk, in bytes: what an overlay can be. */
export const DISK_LIMIT = 64 * 2 ** 40;

/** A blob of the image that goes along. */
export interface ArchivedBlob {
  /** `sha256:…` */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
}

/** The box's disk. */
export interface ArchivedDisk {
  /** Its size in bytes. */
  readonly sizeBytes: number;
  /** Digest of what the image's disk holds, which runs lie over; see `diskDigest`. */
  readonly base: string;
}

/** The first file. */
export interface ArchiveHead {
  /** {@link FORMAT}. */
  readonly format: string;
  /** {@link FORMAT_VERSION}. */
  readonly version: number;
  /** What wrote it, for people. */
  readonly writer: string;
  /** The box's configuration, as recorded. */
  readonly box: unknown;
  /** What it is made from. */
  readonly image: {
    /** Canonical reference with its scheme. */
    readonly reference: string;
    /** Digest of the manifest. */
    readonly digest: string;
    /** Manifest, configuration and layers, in the order of the archive; null when they stay behind. */
    readonly blobs: readonly ArchivedBlob[] | null;
  };
  /** Null for a box that never ran. */
  readonly disk: ArchivedDisk | null;
  /** How the disk came to be. */
  readonly consistency: Consistency;
}

/** The last file. */
export interface ArchiveEnd {
  /** SHA-256 of the whole tar before this file, in hexadecimal. */
  readonly sha256: string;
  /** How many pieces the disk has. */
  readonly pieces: number;
}

/** Name of the disk's piece with this number, from 0. */
export function pieceName(number: number): string {
  return `disk/${String(number).padStart(8, "0")}`;
}

/** Name of a blob's file. */
export function blobName(digest: string): string {
  return `blobs/sha256/${digest.slice("sha256:".length)}`;
}

/** What is wrong with an archive. */
export function badArchive(problem: string, cause?: unknown): HutchError {
  return new HutchError("invalid_archive", `Cannot import a box: ${problem}`, {
    ...cause === undefined ? {} : { cause },
    hint: "export the box again, or fetch the archive again",
  });
}
