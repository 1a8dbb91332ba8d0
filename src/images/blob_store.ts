/**
 * Blobs by their digest: files that exist only when they were checked.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { exists, isNoSpace, removeIfThere } from "../atomic_file.ts";
import { FileLock } from "../file_lock.ts";
import { errorText, HutchError } from "../errors.ts";
import { digestHex, digestOf } from "./digest.ts";
import { PartialBlob } from "./partial_blob.ts";
import { sweepFolder } from "./sweep.ts";
import { lockFile, sleep } from "./wait.ts";

/** Where a store keeps its files; both folders must be on one file system. */
export interface BlobStoreOptions {
  /** Verified blobs, each named by its hexadecimal digest. */
  readonly blobs: string;
  /** Unfinished ones, and their locks. */
  readonly partial: string;
  /** First pause before a download goes on after it broke, in `ms`. @default {200} */
  readonly retryDelayMs?: number;
}

/** Gives a blob's bytes from about `offset` on; `start` says where they really begin. */
export type BlobOpener = (
  options: { offset: number; signal: AbortSignal },
) => Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }>;

/** Options of {@link BlobStore.ingest}. */
export interface IngestOptions {
  readonly signal: AbortSignal;
  /** Called with how many of the blob's bytes are there; may go back when a download starts over. */
  readonly onProgress?: (bytes: number) => void;
}

/** How often a broken download goes on without a new byte in between. */
const FRUITLESS_LIMIT = 3;
/** How often it goes on at all. */
const RESUME_LIMIT = 50;

/** A folder of verified blobs that any number of programs may use at once. */
export class BlobStore {
  readonly #blobs: string;
  readonly #partial: string;
  readonly #retryDelayMs: number;

  constructor(options: BlobStoreOptions) {
    this.#blobs = options.blobs;
    this.#partial = options.partial;
    this.#retryDelayMs = options.retryDelayMs ?? 200;
  }

  /** Where the blob is, or would be. */
  path(digest: string): string {
    return join(this.#blobs, digestHex(digest));
  }

  /** Whether the blob is there, with this size in bytes. */
  async has(digest: string, size: number): Promise<boolean> {
    try {
      const { isFile, size: found } = await Deno.lstat(this.path(digest));
      return isFile && found === size;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /**
   * The bytes of a blob that is there, checked again.
   *
   * @throws {HutchError} `digest_mismatch` when the file was changed since.
   */
  async read(digest: string): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = await Deno.readFile(this.path(digest));
    if (digestOf(bytes) === digest) return bytes;
    throw new HutchError(
      "digest_mismatch",
      `Cannot read blob ${digest}: its file ${this.path(digest)} was changed`,
      { hint: "pull the image again" },
    );
  }

  /**
   * Makes sure that the blob is there: streams it into `partial`, checks size and digest on the
   * way, syncs and renames it. A download that breaks goes on where it stopped, as does one that a
   * dead or cancelled program left; of several programs that want the same blob one works.
   * Returns whether it was fetched here: false when it was there, or somebody else got it.
   *
   * @throws {HutchError} `digest_mismatch`, `no_space`, `home_unusable`, `cancelled`, or what `open` throws. What
   * was fetched is kept only when it was cancelled or the registry went away.
   */
  async ingest(
    digest: string,
    size: number,
    open: BlobOpener,
    options: IngestOptions,
  ): Promise<boolean> {
    if (await this.has(digest, size)) return false;
    const partial = join(this.#partial, digestHex(digest));
    try {
      await Deno.mkdir(this.#blobs, { recursive: true, mode: 0o700 });
      await Deno.mkdir(this.#partial, { recursive: true, mode: 0o700 });
      using _lock = await lockFile(`${partial}.lock`, options.signal);
      if (await this.has(digest, size)) return false; // the one before us did it
      await this.#fetch(partial, digest, size, open, options);
      return true;
    } catch (error) {
      throw placeError(error, this.#partial);
    }
  }

  /**
   * Removes what there is of a blob, finished or not, unless somebody is fetching it right now.
   * Whoever counted on it finds it missing and fetches it again.
   */
  async discard(digest: string): Promise<void> {
    const partial = join(this.#partial, digestHex(digest));
    using lock = FileLock.try(`${partial}.lock`);
    if (!lock) return;
    await removeIfThere(partial);
    await removeIfThere(this.path(digest));
  }

  /**
   * Removes what programs that died left and nobody came back for in `maxAgeMs`, and locks that
   * nobody holds. Blobs that are being fetched stay.
   */
  async sweep(maxAgeMs: number): Promise<void> {
    await sweepFolder(this.#partial, maxAgeMs, (name) => name);
  }

  /** Removes the blob if its file doesn't have its digest any more; says whether it did. */
  async removeIfChanged(digest: string): Promise<boolean> {
    if (!await exists(this.path(digest))) return false;
    using blob = await PartialBlob.open(this.path(digest));
    await blob.rehash(Number.MAX_SAFE_INTEGER, () => {});
    if (blob.digest() === digest) return false;
    await removeIfThere(this.path(digest));
    return true;
  }

  async #fetch(
    path: string,
    digest: string,
    size: number,
    open: BlobOpener,
    options: IngestOptions,
  ): Promise<void> {
    try {
      using blob = await PartialBlob.open(path);
      await blob.rehash(size, options.onProgress ?? (() => {}), options.signal);
      await this.#download(blob, digest, size, open, options);
      const found = blob.digest();
      if (found !== digest) throw mismatch(digest, `its bytes have ${found}`);
      await blob.sync();
      await Deno.rename(path, this.path(digest));
    } catch (error) {
      const resumable = error instanceof HutchError &&
        (error.code === "cancelled" || error.code === "registry_unreachable");
      if (!resumable) await removeIfThere(path);
      throw error;
    }
    await syncFolder(dirname(this.path(digest)));
  }

  /** Until all bytes are there, goes on after each break. */
  async #download(
    blob: PartialBlob,
    digest: string,
    size: number,
    open: BlobOpener,
    options: IngestOptions,
  ): Promise<void> {
    let fruitless = 0;
    for (let attempt = 0; blob.size < size; attempt++) {
      const furthest = blob.furthest;
      const { start, body } = await open({ offset: blob.size, signal: options.signal });
      const broken = await blob.append(start, body, size, options);
      if (broken === undefined) {
        if (blob.size === size) return;
        throw mismatch(digest, `it ended after ${blob.size} of ${size} bytes`);
      }
      fruitless = blob.furthest > furthest ? 0 : fruitless + 1;
      if (fruitless >= FRUITLESS_LIMIT || attempt >= RESUME_LIMIT) {
        if (broken instanceof HutchError) throw broken;
        throw new HutchError(
          "registry_failed",
          `Cannot get blob ${digest}: its download broke after ${blob.size} of ${size} bytes: ` +
            errorText(broken),
          { cause: broken },
        );
      }
      await sleep(this.#retryDelayMs * 2 ** fruitless, options.signal);
    }
  }
}

function mismatch(digest: string, problem: string): HutchError {
  return new HutchError("digest_mismatch", `Cannot get blob ${digest}: ${problem}`);
}

/** What is wrong with the store's folder, named; other errors as they are. */
function placeError(error: unknown, folder: string): unknown {
  if (isNoSpace(error)) {
    return new HutchError("no_space", `Cannot store a blob: no space is left in ${folder}`, {
      cause: error,
      hint: "free some room there, or choose another home with HUTCH_HOME",
    });
  }
  const unwritable = error instanceof Deno.errors.PermissionDenied ||
    error instanceof Error && "code" in error && error.code === "EROFS";
  if (!unwritable) return error;
  return new HutchError("home_unusable", `Cannot store a blob: ${folder} can't be written`, {
    cause: error,
    hint: "make it writable, or choose another home with HUTCH_HOME",
  });
}

async function syncFolder(path: string): Promise<void> {
  using folder = await Deno.open(path);
  await folder.sync();
}
