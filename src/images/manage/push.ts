/**
 * Pushing an image that is here.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import { type ImageLedger, type ImageRecord, originOf } from "../records.ts";
import { DEFAULT_SCHEME } from "../reference.ts";
import type { PushAnswer, PushBlob, PushEvent } from "../source.ts";
import type { ImageStore } from "../store.ts";
import { describe } from "./archive.ts";
import { blobBytes } from "./save.ts";

/** Options of `Images.push`. */
export interface ImagePushOptions {
  /** Where to, such as `registry.example/team/app:1`. @default {what the image is called} */
  readonly to?: string;
  /** Ends the work. */
  readonly signal?: AbortSignal;
  /** Told as it goes on. */
  readonly onProgress?: (event: PushEvent) => void;
}

/** What a push did. */
export interface PushReport extends PushAnswer {
  /** Where the image is now, with its scheme. */
  readonly reference: string;
}

/** What pushing works with. */
export interface PushContext {
  readonly store: ImageStore;
  readonly ledger: ImageLedger;
}

/** Where a blob may be fetched from again, at most so many places. */
const PLACES = 8;

/**
 * Pushes an image; what it is made of is held here by the caller.
 *
 * @param target Where to, with its scheme.
 */
export async function pushImage(
  { store, ledger }: PushContext,
  record: ImageRecord,
  target: string,
  { signal, onProgress = () => {} }: ImagePushOptions & { readonly signal: AbortSignal },
): Promise<PushReport> {
  await store.ensureBlobs(record, { signal });
  const { bytes, mediaType, config, layers } = await describe(
    { record, references: [] },
    store.blobs,
    "push",
  );
  if (!await store.blobs.has(config.digest, config.size)) {
    throw new HutchError(
      "image_not_found",
      `Cannot push ${record.reference}: its configuration ${config.digest} isn't here any more`,
      { hint: "pull the image again, or load its file again" },
    );
  }
  const elsewhere = placesOf(ledger);
  const blobs = new Map([...layers, config].map(({ digest, size }): [string, PushBlob] => [digest, {
    digest,
    size,
    from: elsewhere.get(digest) ?? [],
    read: (signal) => blobBytes(store.blobs, { digest, size }, { signal, doing: "push" }),
  }]));
  const image = { manifest: bytes, mediaType, blobs: [...blobs.values()], onProgress };
  const answer = await store.push(target, image, signal);
  return { ...answer, reference: target };
}

/** Names at registries of images here, by the layers that they have. */
function placesOf(ledger: ImageLedger): ReadonlyMap<string, readonly string[]> {
  const places = new Map<string, string[]>();
  for (const record of ledger.all()) {
    const origin = originOf(record);
    if (origin === null || !origin.startsWith(`${DEFAULT_SCHEME}:`)) continue;
    const name = origin.slice(DEFAULT_SCHEME.length + 1);
    for (const { digest } of record.layers) {
      const known = places.get(digest) ?? [];
      if (known.length < PLACES) places.set(digest, [...known, name]);
    }
  }
  return places;
}
