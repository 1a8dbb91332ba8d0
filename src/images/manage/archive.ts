/**
 * What is in the files that images are saved as: an OCI image layout, or what `docker save` writes.
 *
 * @module
 */
import type { BlobStore } from "../blobs/blob_store.ts";
import { HutchError } from "../../errors.ts";
import { isDiskImage, MANIFEST_TYPES, parseManifest } from "../manifest.ts";
import type { ImageRecord } from "../records.ts";
import { DEFAULT_SCHEME, parseReference } from "../reference.ts";

/** What a file with images looks like: an OCI image layout in a tar, or `docker save`'s. */
export type ArchiveFormat = "oci" | "docker-archive";

/** Every {@link ArchiveFormat}. */
export const ARCHIVE_FORMATS: readonly ArchiveFormat[] = ["oci", "docker-archive"];

/** An image that is saved, and the names it gets in the file. */
export interface SavedImage {
  readonly record: ImageRecord;
  /** References, with their schemes; only names of registries can be kept. */
  readonly references: readonly string[];
}

/** One file in the archive. */
export interface ArchiveEntry {
  readonly path: string;
  readonly content: Uint8Array<ArrayBuffer> | { readonly digest: string; readonly size: number };
}

/** An image with its documents. */
export interface Described extends SavedImage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly mediaType: string;
  readonly config: { readonly digest: string; readonly size: number };
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
}

/**
 * The files of an archive, in the order in which they are written: the same for the same images,
 * however they were asked for.
 *
 * @throws {HutchError} `image_not_found` when a manifest is gone, `invalid_option` for an image that
 * the format can't hold, `digest_mismatch`.
 */
export async function archiveEntries(
  images: readonly SavedImage[],
  blobs: BlobStore,
  format: ArchiveFormat,
): Promise<readonly ArchiveEntry[]> {
  const described: Described[] = [];
  for (const image of [...images].sort(byDigest)) described.push(await describe(image, blobs));
  return format === "oci" ? ociEntries(described) : dockerEntries(described);
}

/**
 * An image with its documents.
 *
 * @throws {HutchError} `image_not_found`, `digest_mismatch`
 */
export async function describe(
  image: SavedImage,
  blobs: BlobStore,
  doing = "save",
): Promise<Described> {
  const { digest, reference } = image.record;
  const bytes = await blobs.read(digest).catch((error: unknown) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new HutchError(
      "image_not_found",
      `Cannot ${doing} ${reference}: its manifest isn't here`,
      {
        hint: "pull the image again",
        cause: error,
      },
    );
  });
  const manifest = parseManifest(bytes, `the manifest of ${reference}`);
  if (manifest.kind !== "image") throw new TypeError("records are of images");
  const { mediaType }: { mediaType?: string } = JSON.parse(new TextDecoder().decode(bytes));
  const { config, layers } = manifest;
  return { ...image, bytes, mediaType: mediaType ?? MANIFEST_TYPES[0] ?? "", config, layers };
}

function ociEntries(images: readonly Described[]): readonly ArchiveEntry[] {
  const manifests = images.flatMap(({ record, references, bytes, mediaType }) => {
    const { os, architecture, variant } = record.platform;
    const descriptor = {
      mediaType,
      digest: record.digest,
      size: bytes.length,
      platform: { architecture, os, ...variant === undefined ? {} : { variant } },
    };
    const names = namesOf(references);
    if (names.length === 0) return [descriptor];
    return names.map((name) => ({
      ...descriptor,
      annotations: {
        // Where containerd and Docker look for the name, and where podman and the specification do.
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name,
      },
    }));
  });
  const stored = new Map<string, ArchiveEntry>();
  for (const { record, bytes, config, layers } of images) {
    stored.set(record.digest, { path: ociPath(record.digest), content: bytes });
    for (const { digest, size } of [config, ...layers]) {
      stored.set(digest, { path: ociPath(digest), content: { digest, size } });
    }
  }
  return [
    json("oci-layout", { imageLayoutVersion: "1.0.0" }),
    json("index.json", {
      schemaVersion: 2,
      mediaType: "application/vnd.oci.image.index.v1+json",
      manifests,
    }),
    ...[...stored.values()].sort(byPath),
  ];
}

function dockerEntries(images: readonly Described[]): readonly ArchiveEntry[] {
  const stored = new Map<string, ArchiveEntry>();
  const listed = images.map(({ record, references, config, layers }) => {
    if (isDiskImage(record)) {
      throw new HutchError(
        "invalid_option",
        `Cannot save ${record.reference} for Docker: it is a disk, not layers`,
        { hint: "save it as an OCI layout (--format oci)" },
      );
    }
    const put = ({ digest, size }: { digest: string; size: number }, suffix: string) => {
      const path = `${digest.slice("sha256:".length)}${suffix}`;
      stored.set(path, { path, content: { digest, size } });
      return path;
    };
    return {
      Config: put(config, ".json"),
      RepoTags: namesOf(references).map(familiar),
      // As they are stored, compressed or not: whoever loads them sees by their beginning.
      Layers: layers.map((layer) => put(layer, ".tar")),
    };
  });
  return [json("manifest.json", listed), ...[...stored.values()].sort(byPath)];
}

/** Names that other programs understand: of registries, with a tag and without a digest. */
function namesOf(references: readonly string[]): readonly string[] {
  return references.filter((reference) => reference.startsWith(`${DEFAULT_SCHEME}:`))
    .map((reference) => reference.slice(DEFAULT_SCHEME.length + 1))
    .filter((name) => parseReference(name).digest === undefined);
}

/** Docker's archives leave out what is understood; `docker load` takes nothing else. */
function familiar(name: string): string {
  return name.replace(/^docker\.io\/(library\/)?/, "");
}

function ociPath(digest: string): string {
  return `blobs/sha256/${digest.slice("sha256:".length)}`;
}

function json(path: string, value: unknown): ArchiveEntry {
  return { path, content: new TextEncoder().encode(JSON.stringify(value)) };
}

function byDigest(a: SavedImage, b: SavedImage): number {
  return a.record.digest < b.record.digest ? -1 : 1;
}

function byPath(a: ArchiveEntry, b: ArchiveEntry): number {
  return a.path < b.path ? -1 : 1;
}
