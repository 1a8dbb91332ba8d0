/**
 * Layers of an image that is here, but not whole any more.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { BlobStore } from "../blobs/blob_store.ts";
import type { Platform } from "../platform.ts";
import { type ImageRecord, originOf } from "../records.ts";
import type { Sources } from "../sources.ts";
import { fetchLayers, type PullListener } from "./pull.ts";

/** What {@link fetchAgain} works with. */
export interface FetchAgainOptions {
  readonly blobs: BlobStore;
  readonly sources: Sources;
  readonly platform: Platform;
  /** How many layers are fetched at once. */
  readonly parallel: number;
  readonly signal: AbortSignal;
  readonly onProgress?: PullListener;
}

/**
 * Fetches layers that went missing, from where the image came.
 *
 * @throws {HutchError} `image_not_found` when it came from nowhere, or is another one there now; what
 * the source and fetching throw.
 */
export async function fetchAgain(
  record: ImageRecord,
  { blobs, sources, platform, parallel, signal, onProgress = () => {} }: FetchAgainOptions,
): Promise<void> {
  const missing: ImageRecord["layers"][number][] = [];
  for (const layer of record.layers) {
    if (!await blobs.has(layer.digest, layer.size)) missing.push(layer);
  }
  if (missing.length === 0) return;
  const origin = originOf(record);
  if (origin === null) {
    throw new HutchError(
      "image_not_found",
      `Cannot get layers of ${record.digest} again: it came from no registry`,
      { hint: "load its file again, or make it again" },
    );
  }
  const { source, split } = sources.find(origin);
  const pinned = source.pin?.(split.rest, record.digest) ?? split.rest;
  await using image = await sources.open({ source, reference: pinned }, signal);
  if (image.digest !== record.digest) {
    throw new HutchError(
      "image_not_found",
      `Cannot get layers of ${record.digest} again: ${origin} means another image now`,
      { hint: "make the box again from the new image" },
    );
  }
  const layers = [...new Map(missing.map((layer) => [layer.digest, layer])).values()];
  const { reference } = record;
  await fetchLayers({ reference, image, blobs, platform, parallel, signal, onProgress }, layers);
}
