/**
 * From an opened image to verified blobs and a record.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { BlobStore } from "./blob_store.ts";
import { CONFIG_LIMIT, type ConfigDocument, parseConfig, requirePlatform } from "./config.ts";
import { digestOf } from "./digest.ts";
import { type Descriptor, type ImageManifest, parseManifest } from "./manifest.ts";
import type { Platform } from "./platform.ts";
import type { ImageRecord, LayerRecord } from "./records.ts";
import type { SourceImage } from "./source.ts";
import { cancelled } from "./wait.ts";

/** What a pull tells while it runs. Sizes are in bytes. */
export type PullEvent =
  | { readonly type: "resolving"; readonly reference: string }
  /** The manifest is known; `bytes` is what its blobs have in all, those that are here included. */
  | {
    readonly type: "resolved";
    readonly reference: string;
    readonly digest: string;
    readonly layers: number;
    readonly bytes: number;
  }
  /** `done` of `total` bytes of a layer are here; may go back when a download starts over. */
  | {
    readonly type: "layer";
    readonly digest: string;
    readonly done: number;
    readonly total: number;
  }
  /** A layer is here and verified; `cached` when nothing was fetched for it. */
  | { readonly type: "layer.done"; readonly digest: string; readonly cached: boolean }
  | { readonly type: "done"; readonly reference: string; readonly digest: string }
  /** The base disk is being made: `done` of `total` bytes of layers went into it. */
  | {
    readonly type: "disk";
    readonly digest: string;
    readonly done: number;
    readonly total: number;
  }
  | { readonly type: "disk.done"; readonly digest: string; readonly path: string };

/** Hears what a pull tells; must not throw. */
export type PullListener = (event: PullEvent) => void;

/** What {@link pullImage} needs. */
export interface PullRequest {
  /** Canonical, with its scheme. */
  readonly reference: string;
  readonly image: SourceImage;
  readonly blobs: BlobStore;
  readonly platform: Platform;
  readonly signal: AbortSignal;
  readonly onProgress: PullListener;
}

/** Layers fetched at once. */
const PARALLEL = 4;

/**
 * Fetches an image's blobs that aren't there yet, each verified, and describes the image. When it
 * fails for good, what it fetched is removed again.
 *
 * @throws {HutchError} `invalid_image`, `digest_mismatch`, `platform_unsupported`, `no_space`,
 * `cancelled`, or what the source throws.
 */
export async function pullImage(request: PullRequest): Promise<ImageRecord> {
  const { reference, image, blobs, platform } = request;
  const manifest = readManifest(reference, image);
  const wanted = uniqueBlobs(manifest, reference);
  request.onProgress({
    type: "resolved",
    reference,
    digest: image.digest,
    layers: manifest.layers.length,
    bytes: sum(wanted),
  });
  const fetched: string[] = [];
  try {
    if (await ingest(request, manifest.config)) fetched.push(manifest.config.digest);
    const config = parseConfig(
      await blobs.read(manifest.config.digest),
      `the configuration of ${reference}`,
      manifest.layers.length,
    );
    requirePlatform(config.platform, platform, reference);
    await fetchLayers(request, uniqueLayers(manifest), fetched);
    return record(request, manifest, config, sum(wanted));
  } catch (error) {
    if (!isPassing(error)) await Promise.all(fetched.map((digest) => blobs.discard(digest)));
    throw error;
  }
}

function readManifest(reference: string, image: SourceImage): ImageManifest {
  const found = digestOf(image.manifest);
  if (found !== image.digest) {
    throw new HutchError(
      "digest_mismatch",
      `Cannot pull ${reference}: its manifest has digest ${found}, not ${image.digest}`,
    );
  }
  const manifest = parseManifest(image.manifest, `the manifest of ${reference}`);
  if (manifest.kind === "image" && manifest.config.size <= CONFIG_LIMIT) return manifest;
  const problem = manifest.kind === "index"
    ? "its source gave an index instead of an image"
    : `its configuration is larger than ${CONFIG_LIMIT} bytes`;
  throw new HutchError("invalid_image", `Cannot pull ${reference}: ${problem}`);
}

function uniqueLayers(manifest: ImageManifest): readonly Descriptor[] {
  return [...new Map(manifest.layers.map((layer) => [layer.digest, layer])).values()];
}

function uniqueBlobs(manifest: ImageManifest, reference: string): readonly Descriptor[] {
  const unique = new Map<string, Descriptor>();
  for (const blob of [manifest.config, ...manifest.layers]) {
    const other = unique.get(blob.digest);
    if (other && other.size !== blob.size) {
      throw new HutchError(
        "invalid_image",
        `Cannot pull ${reference}: its manifest gives blob ${blob.digest} two sizes`,
      );
    }
    unique.set(blob.digest, blob);
  }
  return [...unique.values()];
}

function sum(blobs: readonly Descriptor[]): number {
  return blobs.reduce((total, { size }) => total + size, 0);
}

/**
 * Fetches layers, a few at once; the first failure ends the others.
 *
 * @param fetched Gets the digests of those that weren't there.
 */
export async function fetchLayers(
  request: PullRequest,
  layers: readonly Pick<Descriptor, "digest" | "size">[],
  fetched: string[] = [],
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([request.signal, failed.signal]);
  const queue = [...layers];
  const errors: unknown[] = [];
  const work = async () => {
    for (let layer = queue.shift(); layer && !signal.aborted; layer = queue.shift()) {
      const { digest, size: total } = layer;
      try {
        const isNew = await ingest({ ...request, signal }, layer, (done) => {
          request.onProgress({ type: "layer", digest, done, total });
        });
        if (isNew) fetched.push(digest);
        request.onProgress({ type: "layer.done", digest, cached: !isNew });
      } catch (error) {
        // Stopped because another failed: what it left goes when that one was for good.
        if (failed.signal.aborted) fetched.push(digest);
        errors.push(error);
        failed.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(PARALLEL, layers.length) }, work));
  if (errors.length > 0) throw errors[0];
  if (request.signal.aborted) throw cancelled(`pull ${request.reference}`, request.signal);
}

async function ingest(
  { image, blobs, signal, reference }: PullRequest,
  blob: Pick<Descriptor, "digest" | "size">,
  onProgress: (bytes: number) => void = () => {},
): Promise<boolean> {
  try {
    return await blobs.ingest(
      blob.digest,
      blob.size,
      (options) => image.blob(blob.digest, options),
      { signal, onProgress },
    );
  } catch (error) {
    if (!(error instanceof HutchError)) throw error;
    throw new HutchError(error.code, `Cannot pull ${reference}: ${lowerFirst(error.message)}`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

/** Whether trying again may go on where this stopped. */
function isPassing(error: unknown): boolean {
  return error instanceof HutchError &&
    (error.code === "cancelled" || error.code === "registry_unreachable");
}

function record(
  { reference, image }: PullRequest,
  manifest: ImageManifest,
  { config, diffIds, platform }: ConfigDocument,
  size: number,
): ImageRecord {
  const layers = manifest.layers.map(({ digest, size, mediaType }, index): LayerRecord => {
    const diffId = diffIds[index];
    if (diffId === undefined) throw new Error("parseConfig counted the layers");
    return { digest, size, mediaType, diffId };
  });
  return {
    reference,
    digest: image.digest,
    platform,
    config,
    layers,
    size,
    pulledAt: new Date().toISOString(),
  };
}
