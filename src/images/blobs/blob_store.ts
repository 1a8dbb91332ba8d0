/**
 * Blobs by their digest: files that exist only when they were checked.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { exists, isNoSpace, removeIfThere, syncPath } from "../../atomic_file.ts";
import { FileLock } from "../../file_lock.ts";
import { type ErrorCode, HutchError } from "../../errors.ts";
import { digestHex, digestOf } from "../digest.ts";
import { BlobUse } from "./blob_use.ts";
import { type BlobOpener, downloadRest, mismatch } from "../pull/download.ts";
import { PartialBlob } from "./partial_blob.ts";
import { sweepFolder } from "./sweep.ts";
import { cancelled, lockFile } from "../wait.ts";

/** Where a store keeps its files; both folders must be on one file system. */
export interface BlobStoreOptions {
  /** Verified blobs, each named by its hexadecimal digest. */
  readonly blobs: string;
  /** Unfinished ones, and their locks. */
  readonly partial: string;
  /** First pause before a download goes on after it broke, in `ms`. @default {200} */
  readonly retryDelayMs?: number;
}

/** Options of {@link BlobStore.ingest}. */
export interface IngestOptions {
  readonly signal: AbortSignal;
  /**
   * Called with how many of the blob's bytes are there, and how they came: `fetch` may go back when a
   * download starts over, `verify` are those that are held against the digest, `wait` those that
   * another program has fetched while we wait for it.
   */
  readonly onProgress?: (bytes: number, doing: "fetch" | "verify" | "wait") => void;
}

/** Names of downloads. */
const HEX = /^[0-9a-f]{64}$/;

/** How often a blob that was patched together, and came out wrong, is fetched anew. */
const RENEW_LIMIT = 1;

/** Failures after which another try may go on where this one stopped. */
const PASSING: ReadonlySet<string> = new Set<ErrorCode>([
  "cancelled",
  "registry_unreachable",
  "registry_failed",
  "registry_denied",
]);

/** Whether another try may go on where the one with this error stopped. */
export function isPassing(error: unknown): boolean {
  return error instanceof HutchError && PASSING.has(error.code);
}

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
   * dead or cancelled program left, and starts over once if the pieces don't make the blob. Of several
   * programs that want the same blob one works.
   * Returns whether it was fetched here: false when it was there, or somebody else got it.
   *
   * @throws {HutchError} `digest_mismatch`, `no_space`, `home_unusable`, `cancelled`, or what `open`
   * throws. What was fetched is kept only for what {@link isPassing}.
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
      using _lock = await lockFile(`${partial}.lock`, options.signal, async () => {
        options.onProgress?.(Math.min(await sizeOf(partial), size), "wait");
      });
      if (await this.has(digest, size)) return false; // the one before us did it
      await this.#fetch(partial, digest, size, open, options);
      return true;
    } catch (error) {
      throw placeError(error, this.#partial);
    }
  }

  /**
   * Keeps bytes whose digest nobody knows yet. Somebody must {@link use} the store meanwhile.
   *
   * @throws {HutchError} `no_space`, `home_unusable`, `cancelled`, or what `bytes` throws.
   */
  async add(
    bytes: AsyncIterable<Uint8Array<ArrayBuffer>>,
    signal: AbortSignal,
  ): Promise<{ readonly digest: string; readonly size: number }> {
    const partial = join(this.#partial, `new-${crypto.randomUUID()}`);
    try {
      await Deno.mkdir(this.#partial, { recursive: true, mode: 0o700 });
      using _lock = await lockFile(`${partial}.lock`, signal); // whoever clears away leaves it alone
      try {
        const blob = await writeHashed(partial, bytes, signal);
        await Deno.rename(partial, this.path(blob.digest));
        await syncPath(this.#blobs);
        return blob;
      } catch (error) {
        await removeIfThere(partial);
        throw error;
      }
    } catch (error) {
      throw placeError(error, this.#partial);
    }
  }

  /**
   * Counts on blobs that are here, or come: none of them is removed until the result is disposed.
   *
   * @throws {HutchError} `home_unusable`, `no_space`, `cancelled`
   */
  async use(signal: AbortSignal): Promise<BlobUse> {
    try {
      await Deno.mkdir(this.#blobs, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw placeError(error, this.#blobs);
    }
    return await BlobUse.share(this.#blobs, signal);
  }

  /**
   * Removes what there is of a blob, but for an unfinished one that somebody is fetching right now.
   *
   * @param alone Shows that nobody counts on it: {@link BlobUse.alone}. Without it a finished one stays.
   */
  async discard(digest: string, alone?: BlobUse): Promise<void> {
    // First, since on a full disk there may be no room for a lock before.
    if (alone) await removeIfThere(this.path(digest));
    const partial = join(this.#partial, digestHex(digest));
    using lock = FileLock.try(`${partial}.lock`);
    if (lock) await removeIfThere(partial);
  }

  /**
   * Removes what programs that died left: downloads that nobody went on with in `maxAgeMs`, what
   * isn't one, locks and names that nobody holds. What is in use stays, and so do names while somebody
   * gives some.
   */
  async sweep(maxAgeMs: number): Promise<void> {
    // What is no download, such as a file that came as a stream, is of no use to anybody else.
    await sweepFolder(this.#partial, 0, (name) => HEX.test(name) ? undefined : name);
    await sweepFolder(this.#partial, maxAgeMs, (name) => name);
    if (!await exists(this.#blobs)) return;
    using alone = BlobUse.alone(this.#blobs);
    await alone?.namedByOthers();
  }

  /**
   * Removes the blob if its file doesn't have its digest any more; says whether it did.
   *
   * @throws {HutchError} `cancelled`
   */
  async removeIfChanged(digest: string, signal: AbortSignal): Promise<boolean> {
    await Deno.mkdir(this.#partial, { recursive: true, mode: 0o700 });
    // Locked, since somebody else who found it changed may just be replacing it.
    using _lock = await lockFile(join(this.#partial, `${digestHex(digest)}.lock`), signal);
    try {
      using blob = await PartialBlob.openFinished(this.path(digest));
      await blob.rehash(Number.MAX_SAFE_INTEGER, () => {}, signal);
      if (blob.digest() === digest) return false;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
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
    using blob = await PartialBlob.open(path);
    try {
      await blob.rehash(size, (bytes) => options.onProgress?.(bytes, "verify"), options.signal);
      for (let renewed = 0;; renewed++) {
        await downloadRest(blob, {
          digest,
          size,
          open,
          retryDelayMs: this.#retryDelayMs,
          signal: options.signal,
          onProgress: (bytes) => options.onProgress?.(bytes, "fetch"),
        });
        const found = blob.digest();
        if (found === digest) break;
        if (!blob.patched || renewed >= RENEW_LIMIT) {
          throw mismatch(digest, `its bytes have ${found}`);
        }
        await blob.restart();
      }
      options.onProgress?.(size, "verify");
      await blob.sync();
      await Deno.rename(path, this.path(digest));
    } catch (error) {
      if (!isPassing(error) || await blob.isEmpty()) await removeIfThere(path);
      throw error;
    }
    await syncPath(dirname(this.path(digest)));
  }
}

async function writeHashed(
  path: string,
  bytes: AsyncIterable<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
): Promise<{ readonly digest: string; readonly size: number }> {
  const hash = createHash("sha256");
  using file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  let size = 0;
  for await (const chunk of bytes) {
    if (signal.aborted) throw cancelled("store a blob", signal);
    hash.update(chunk);
    for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
    size += chunk.length;
  }
  await file.sync();
  return { digest: `sha256:${hash.digest("hex")}`, size };
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

/** In bytes; 0 for what isn't there. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await Deno.lstat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}
