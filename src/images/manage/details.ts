/**
 * All that is known of one image, from its record, its manifest and its configuration.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { BlobStore } from "../blobs/blob_store.ts";
import { CONFIG_LIMIT } from "../config.ts";
import { type JsonObject, JsonReader } from "../json.ts";
import { MANIFEST_LIMIT, parseManifest } from "../manifest.ts";
import type { ImageEntry, ImageRecord, ImageUser, LayerRecord } from "../records.ts";

/** A base disk that was made of an image. */
export interface ImageDisk {
  /** The disk's file. */
  readonly path: string;
  /** Its length in bytes; much of it may be holes. */
  readonly size: number;
  /** What it takes on the host's disk, in bytes. */
  readonly allocated: number;
}

/** Everything known about an image, as `hutch image inspect` prints it. */
export interface ImageDetails extends ImageRecord {
  /** All that means it here. */
  readonly references: readonly string[];
  /** When it was built, as its configuration says; null when that says nothing. */
  readonly created: string | null;
  /** Who made it, as it says itself. */
  readonly author: string | null;
  /** Digest of its configuration; null like `manifest`. */
  readonly configDigest: string | null;
  /** The manifest itself; null when its file is gone or was changed: pull the image again. */
  readonly manifest: JsonObject | null;
  /** Null until a box was started from it. */
  readonly disk: ImageDisk | null;
  /** Boxes that were made from it. */
  readonly boxes: readonly ImageUser[];
}

/** One step of an image's making, the first one first. */
export interface ImageHistoryEntry {
  /** When the step was made, as the image says. */
  readonly created: string | null;
  /** The step's command. */
  readonly createdBy: string | null;
  /** Who made the step, as the image says. */
  readonly author: string | null;
  /** What the image says about the step. */
  readonly comment: string | null;
  /** What the step added; null when it changed the configuration alone. */
  readonly layer: LayerRecord | null;
}

const HISTORY_LIMIT = 10_000;

/** An image's documents. */
interface Documents {
  readonly manifest: JsonObject;
  readonly configDigest: string;
  readonly config: JsonObject;
  readonly reader: JsonReader;
}

/** {@link ImageDetails} of an image. */
export async function detailsOf(
  { record, references, boxes }: ImageEntry,
  blobs: BlobStore,
  diskPath: string,
): Promise<ImageDetails> {
  const documents = await documentsOf(record, blobs);
  const text = (field: string) =>
    documents?.reader.optionalString(documents.config[field], field) || null;
  return {
    ...record,
    references,
    created: text("created"),
    author: text("author"),
    configDigest: documents?.configDigest ?? null,
    manifest: documents?.manifest ?? null,
    disk: await diskAt(diskPath),
    boxes,
  };
}

/**
 * The steps of an image's making, with the layers that they added. Layers that the configuration
 * tells nothing of follow at the end.
 *
 * @throws {HutchError} `invalid_image`
 */
export async function historyOf(
  record: ImageRecord,
  blobs: BlobStore,
): Promise<readonly ImageHistoryEntry[]> {
  const documents = await documentsOf(record, blobs);
  const layers = [...record.layers];
  const steps: ImageHistoryEntry[] = [];
  if (documents) {
    const { reader, config } = documents;
    const entries = reader.array(config["history"], "history", HISTORY_LIMIT, true);
    for (const [index, value] of entries.entries()) {
      const entry = reader.object(value, `history[${index}]`);
      const text = (field: string) =>
        reader.optionalString(entry[field], `history[${index}].${field}`) || null;
      steps.push({
        created: text("created"),
        createdBy: text("created_by"),
        author: text("author"),
        comment: text("comment"),
        layer: entry["empty_layer"] === true ? null : layers.shift() ?? null,
      });
    }
  }
  const unknown = { created: null, createdBy: null, author: null, comment: null };
  return [...steps, ...layers.map((layer) => ({ ...unknown, layer }))];
}

/** Undefined when a file of them is gone or was changed. */
async function documentsOf(
  { digest, reference }: ImageRecord,
  blobs: BlobStore,
): Promise<Documents | undefined> {
  const bytes = await readUnlessGone(blobs, digest);
  if (!bytes) return undefined;
  const manifest = parseManifest(bytes, `the manifest of ${reference}`);
  const config = manifest.kind === "image"
    ? await readUnlessGone(blobs, manifest.config.digest)
    : undefined;
  if (manifest.kind !== "image" || !config) return undefined;
  const reader = new JsonReader(`the configuration of ${reference}`);
  return {
    manifest: reader.parse(bytes, MANIFEST_LIMIT),
    configDigest: manifest.config.digest,
    config: reader.parse(config, CONFIG_LIMIT),
    reader,
  };
}

async function readUnlessGone(
  blobs: BlobStore,
  digest: string,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    return await blobs.read(digest);
  } catch (error) {
    const changed = error instanceof HutchError && error.code === "digest_mismatch";
    if (changed || error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function diskAt(path: string): Promise<ImageDisk | null> {
  try {
    const { size, blocks } = await Deno.stat(path);
    return { path, size, allocated: blocks === null ? size : blocks * 512 };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}
