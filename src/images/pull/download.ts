/**
 * The rest of a blob, over any number of breaks.
 *
 * @module
 */
import { errorText, HutchError } from "../../errors.ts";
import type { PartialBlob } from "../blobs/partial_blob.ts";
import { orCancelled, sleep } from "../wait.ts";

/** Gives a blob's bytes from about `offset` on; `start` says where they really begin. */
export type BlobOpener = (
  options: { offset: number; signal: AbortSignal },
) => Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }>;

/** What {@link downloadRest} needs. */
export interface DownloadRequest {
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  readonly open: BlobOpener;
  /** Pause before it goes on after a break, in `ms`; it doubles while nothing comes. */
  readonly retryDelayMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (bytes: number) => void;
}

/** How often a broken download goes on without a new byte in between. */
const FRUITLESS_LIMIT = 3;
/** How often it goes on after less than {@link LITTLE}. */
const LITTLE_LIMIT = 50;
/** New bytes that make up for another break. */
const LITTLE = 256 * 1024;

/**
 * Adds what a blob lacks, until it has its size; goes on after each break.
 *
 * @throws {HutchError} `digest_mismatch` when it ends too early, or too late; `registry_failed`;
 * `cancelled`; and what `open` throws.
 */
export async function downloadRest(blob: PartialBlob, request: DownloadRequest): Promise<void> {
  const { size, open, signal, onProgress } = request;
  let fruitless = 0;
  let little = 0;
  while (blob.size < size) {
    const furthest = blob.furthest;
    const { start, body } = await orCancelled(
      open({ offset: blob.size, signal }),
      "get a blob",
      { signal, late: (answer) => void answer.body.cancel().catch(() => {}) },
    );
    const broken = await blob.append(start, body, size, { signal, onProgress });
    if (blob.size === size) return; // what broke after the last byte doesn't matter
    const gained = blob.furthest - furthest;
    fruitless = gained > 0 ? 0 : fruitless + 1;
    if (gained < LITTLE) little += 1;
    if (fruitless >= FRUITLESS_LIMIT || little > LITTLE_LIMIT) {
      throw givenUp(request, blob.size, broken);
    }
    await sleep(request.retryDelayMs * 2 ** fruitless, signal);
  }
}

/** The error of a blob that has other bytes than its digest or size says. */
export function mismatch(digest: string, problem: string): HutchError {
  return new HutchError("digest_mismatch", `Cannot get blob ${digest}: ${problem}`);
}

/** A connection may be cut so that it looks like an end: only one that stays there is one. */
function givenUp({ digest, size }: DownloadRequest, done: number, broken: unknown): HutchError {
  if (broken === undefined) return mismatch(digest, `it ended after ${done} of ${size} bytes`);
  return new HutchError(
    broken instanceof HutchError ? broken.code : "registry_failed",
    `Cannot get blob ${digest}: its download broke after ${done} of ${size} bytes: ` +
      errorText(broken),
    { cause: broken },
  );
}
