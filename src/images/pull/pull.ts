/**
 * From an opened image to verified blobs and a record.
 *
 * @module
 */
import { asReason, HutchError } from "../../errors.ts";
import type { Queries } from "../../plugin/contract.ts";
import { type BlobStore, isPassing } from "../blobs/blob_store.ts";
import { CONFIG_LIMIT, type ConfigDocument, parseConfig, requirePlatform } from "../config.ts";
import { digestOf } from "../digest.ts";
import { type Descriptor, type ImageManifest, parseManifest } from "../manifest.ts";
import type { Platform } from "../platform.ts";
import type { ImageRecord, LayerRecord } from "../records.ts";
import type { SourceImage } from "../source.ts";
import { cancelled } from "../wait.ts";

/**
 * What a pull tells while it runs. Sizes are in bytes. Types may be added: pass over those that you
 * don't know.
 */
export type PullEvent =
  /** The image's source is asked what the reference means. */
  | { readonly type: "resolving"; readonly reference: string }
  /** The manifest is known; `bytes` is what its blobs have in all, those that are here included. */
  | {
    readonly type: "resolved";
    readonly reference: string;
    readonly digest: string;
    readonly layers: number;
    readonly bytes: number;
  }
  /**
   * `done` of `total` bytes of a layer are here; may go back when a download starts over. After
   * `resolved`, each layer is named in this way once, with 0, before the first one is fetched.
   */
  | {
    readonly type: "layer";
    readonly digest: string;
    readonly done: number;
    readonly total: number;
  }
  /** Another program is fetching the layer and has `done` bytes by now. */
  | {
    readonly type: "layer.waiting";
    readonly digest: string;
    readonly done: number;
    readonly total: number;
  }
  /**
   * `done` bytes were read to be held against the digest: those that an earlier pull left, and, when
   * they are `total`, all of them; then they match.
   */
  | {
    readonly type: "layer.verify";
    readonly digest: string;
    readonly done: number;
    readonly total: number;
  }
  /** A layer is here and verified; `cached` when nothing was fetched for it by this pull. */
  | {
    readonly type: "layer.done";
    readonly digest: string;
    readonly total: number;
    readonly cached: boolean;
  }
  /** Another program is making the base disk. */
  | { readonly type: "disk.waiting"; readonly digest: string }
  /** The base disk is being made: `done` of `total` bytes of layers went into it. */
  | {
    readonly type: "disk";
    readonly digest: string;
    readonly done: number;
    readonly total: number;
  }
  /** The base disk is there; `cached` when it wasn't made by this pull. */
  | {
    readonly type: "disk.done";
    readonly digest: string;
    readonly path: string;
    readonly cached: boolean;
  }
  /** The image is recorded: the last event of a pull that went well. */
  | { readonly type: "done"; readonly reference: string; readonly digest: string };

/** Hears what a pull tells; must not throw. */
export type PullListener = (event: PullEvent) => void;

/** What {@link fetchLayers} needs. */
export interface FetchRequest {
  /** Layers fetched at once. */
  readonly parallel: number;
  /** Canonical, with its scheme. */
  readonly reference: string;
  readonly image: SourceImage;
  readonly blobs: BlobStore;
  readonly platform: Platform;
  readonly signal: AbortSignal;
  readonly onProgress: PullListener;
}

/** What {@link pullImage} needs. */
export interface PullRequest extends FetchRequest {
  /** Told what the pull needs, by digest, before any of it is looked for. @default {nobody} */
  readonly name?: (digests: readonly string[]) => void;
  /** Makes of the fetched image what else is wanted; when it fails, so does the pull. */
  readonly use: (record: ImageRecord) => Promise<void>;
  /** Removes blobs that this pull has fetched, as far as nobody else counts on them by now. */
  readonly discard: (digests: readonly string[]) => Promise<void>;
  /** Says whether the image may be used, before anything of it is kept; undefined is yes. */
  readonly verify: (
    image: Pick<Queries["verify"]["question"], "reference" | "digest" | "manifest">,
  ) => Promise<Queries["verify"]["answer"] | undefined>;
}

const LAYER_EVENT = {
  fetch: "layer",
  verify: "layer.verify",
  wait: "layer.waiting",
} as const;

/**
 * Fetches an image's blobs that aren't there yet, each verified, and describes the image. When it
 * fails for good, what it fetched is removed again.
 *
 * @throws {HutchError} `image_refused`, `invalid_image`, `digest_mismatch`, `platform_unsupported`,
 * `no_space`, `cancelled`, or what the source throws.
 */
export async function pullImage(request: PullRequest): Promise<ImageRecord> {
  const { reference, image, blobs, platform } = request;
  const manifest = readManifest(reference, image);
  await verify(request);
  const wanted = uniqueBlobs(manifest, reference);
  request.name?.([image.digest, ...wanted.map(({ digest }) => digest)]);
  request.onProgress({
    type: "resolved",
    reference,
    digest: image.digest,
    layers: manifest.layers.length,
    bytes: sum(wanted),
  });
  const fetched: string[] = [];
  try {
    if (await ingestSmall(request, manifest.config)) fetched.push(manifest.config.digest);
    const config = parseConfig(
      await blobs.read(manifest.config.digest),
      `the configuration of ${reference}`,
      manifest.layers.length,
    );
    requirePlatform(config.platform, platform, reference);
    await fetchLayers(request, uniqueLayers(manifest), fetched);
    // Not needed to run the image, but to know it again when its record is lost.
    const isNew = await ingestSmall(
      { ...request, image: { blob: () => opened(image.manifest) } },
      { digest: image.digest, size: image.manifest.length },
    );
    if (isNew) fetched.push(image.digest);
    const record = describeImage({ reference, digest: image.digest }, manifest, config);
    await request.use(record);
    return record;
  } catch (error) {
    // What can't be removed now goes with the next prune; the first failure is the one to tell.
    if (!isPassing(error)) await request.discard(fetched).catch(() => {});
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

async function verify({ reference, image, verify }: PullRequest): Promise<void> {
  const { digest, manifest } = image;
  const verdict = await verify({ reference, digest, manifest });
  if (verdict === undefined || verdict.ok) return;
  throw new HutchError("image_refused", `Cannot use ${reference}: ${verdict.reason}`, {
    hint: "a plugin refuses it; take another image, or change what the plugin allows",
  });
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
  request: FetchRequest,
  layers: readonly Pick<Descriptor, "digest" | "size">[],
  fetched: string[] = [],
): Promise<void> {
  const failed = new AbortController();
  const signal = AbortSignal.any([request.signal, failed.signal]);
  const queue = [...layers];
  for (const { digest, size } of layers) {
    request.onProgress({ type: "layer", digest, done: 0, total: size });
  }
  const errors: unknown[] = [];
  const work = async () => {
    for (let layer = queue.shift(); layer && !signal.aborted; layer = queue.shift()) {
      const { digest, size: total } = layer;
      try {
        const isNew = await ingest({ ...request, signal }, layer, (done, doing) => {
          request.onProgress({ type: LAYER_EVENT[doing], digest, done, total });
        });
        if (isNew) fetched.push(digest);
        request.onProgress({ type: "layer.done", digest, total, cached: !isNew });
      } catch (error) {
        // Stopped because another failed: what it left goes when that one was for good.
        if (failed.signal.aborted) fetched.push(digest);
        errors.push(error);
        failed.abort();
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(request.parallel, layers.length) }, work));
  if (errors.length > 0) throw errors[0];
  if (request.signal.aborted) throw cancelled(`pull ${request.reference}`, request.signal);
}

/** {@link ingest} for a blob that is read at once: one that is here and was changed is fetched anew. */
async function ingestSmall(request: BlobRequest, blob: BlobNamed): Promise<boolean> {
  if (await ingest(request, blob)) return true;
  if (!await request.blobs.removeIfChanged(blob.digest, request.signal)) return false;
  return await ingest(request, blob);
}

type BlobNamed = Pick<Descriptor, "digest" | "size">;

type BlobRequest = Pick<FetchRequest, "blobs" | "signal" | "reference"> & {
  readonly image: Pick<SourceImage, "blob">;
};

async function ingest(
  { image, blobs, signal, reference }: BlobRequest,
  blob: BlobNamed,
  onProgress: (bytes: number, doing: keyof typeof LAYER_EVENT) => void = () => {},
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
    const hint = error.hint ?? usualHint(error);
    throw new HutchError(error.code, `Cannot pull ${reference}: ${asReason(error.message)}`, {
      cause: error,
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

function usualHint(error: HutchError): string | undefined {
  if (isPassing(error)) return "pull it again: that goes on from what is here";
  if (error.code !== "digest_mismatch") return undefined;
  return "its source, or something on the way, gives other bytes than it promised";
}

/** The record of an image whose blobs are here, as of now. */
export function describeImage(
  { reference, digest }: Pick<ImageRecord, "reference" | "digest">,
  manifest: ImageManifest,
  { config, diffIds, platform }: ConfigDocument,
): ImageRecord {
  const layers = manifest.layers.map(({ digest, size, mediaType }, index): LayerRecord => {
    const diffId = diffIds[index];
    if (diffId === undefined) throw new Error("parseConfig counted the layers");
    return { digest, size, mediaType, diffId };
  });
  return {
    reference,
    digest,
    platform,
    config,
    layers,
    size: sum(uniqueBlobs(manifest, reference)),
    pulledAt: new Date().toISOString(),
  };
}

function opened(
  bytes: Uint8Array<ArrayBuffer>,
): Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }> {
  return Promise.resolve({ start: 0, body: new Blob([bytes]).stream() });
}
