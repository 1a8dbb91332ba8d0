/**
 * The blobs that images are made of.
 *
 * @module
 */
import type { BlobStore } from "./blob_store.ts";
import { parseManifest } from "../manifest.ts";
import type { ImageRecord } from "../records.ts";

/** Digests of all blobs that these images need, or are known again by: layers, manifests, configurations. */
export async function referredBlobs(
  images: readonly ImageRecord[],
  blobs: BlobStore,
): Promise<ReadonlySet<string>> {
  const referred = new Set<string>();
  for (const { digest, layers, reference } of images) {
    if (referred.has(digest)) continue;
    referred.add(digest);
    for (const layer of layers) referred.add(layer.digest);
    const config = await configOf(digest, reference, blobs);
    if (config !== undefined) referred.add(config);
  }
  return referred;
}

/** Undefined when the manifest isn't here, or was changed: then it names nothing. */
async function configOf(
  digest: string,
  reference: string,
  blobs: BlobStore,
): Promise<string | undefined> {
  try {
    const manifest = parseManifest(await blobs.read(digest), `the manifest of ${reference}`);
    return manifest.kind === "image" ? manifest.config.digest : undefined;
  } catch {
    return undefined;
  }
}
