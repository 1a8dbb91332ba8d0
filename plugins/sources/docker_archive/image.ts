/**
 * From an image in an archive of `docker save` to a manifest and its blobs.
 *
 * @module
 */
import { createHash } from "node:crypto";
import {
  digestOf,
  HutchError,
  parseConfig,
  type Platform,
  requirePlatform,
  type SourceImage,
} from "../../../mod.ts";
import { compressionOf, MAGIC_LENGTH } from "../archive/compression.ts";
import type { TarFile } from "../archive/tar_index.ts";
import type { DockerArchive, ListedImage } from "./archive.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar";
/** Largest configuration, in bytes; the same that pulls allow. */
const CONFIG_LIMIT = 8 * 1024 * 1024;
/** Names that say the digest: `ID.json` of old archives, `blobs/sha256/ID` of new ones. */
const NAMED_BY_DIGEST = /^(?:blobs\/sha256\/)?([0-9a-f]{64})(?:\.json)?$/;

/** What {@link imageOf} is told. */
export interface ImageOfOptions {
  /** How errors call the image. */
  readonly name: string;
  readonly platform: Platform;
  readonly signal: AbortSignal;
}

interface Layer {
  readonly mediaType: string;
  readonly digest: string;
  readonly file: TarFile;
}

/**
 * The image, its manifest made of what the archive has; it closes the archive's file when disposed.
 *
 * @throws {HutchError} `invalid_image`, `digest_mismatch`, `platform_unsupported`, `cancelled`
 */
export async function imageOf(
  archive: DockerArchive,
  listed: ListedImage,
  { name, platform, signal }: ImageOfOptions,
): Promise<SourceImage> {
  const { file } = archive;
  const configFile = archive.find(listed.config);
  if (configFile.size > CONFIG_LIMIT) {
    throw file.invalid(`its configuration is larger than ${CONFIG_LIMIT} bytes`);
  }
  const config = await file.read(configFile.offset, configFile.size);
  const id = digestOf(config);
  requireNamed(archive, listed.config, id);
  const { diffIds, platform: offered } = parseConfig(
    config,
    `the configuration of ${name}`,
    listed.layers.length,
  );
  requirePlatform(offered, platform, name);
  const layers: Layer[] = [];
  for (const [index, diffId] of diffIds.entries()) {
    layers.push(await readLayer(archive, listed.layers[index] ?? "", diffId, signal));
  }
  const manifest = new TextEncoder().encode(JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: id, size: config.length },
    layers: layers.map(({ mediaType, digest, file: { size } }) => ({ mediaType, digest, size })),
  }));
  const blobs = new Map<string, TarFile>([
    ...layers.map(({ digest, file }) => [digest, file] as const),
    [id, configFile],
  ]);
  return {
    digest: digestOf(manifest),
    manifest,
    blob(digest, { offset }) {
      const blob = blobs.get(digest);
      if (!blob) return Promise.reject(file.invalid(`it has no blob ${digest}`));
      const start = Math.min(offset, blob.size);
      const body = file.stream(blob.offset + start, blob.size - start);
      return Promise.resolve({ start, body });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(file[Symbol.dispose]()),
  };
}

/** Who asks for the image checks each blob, so what is claimed here needs no proof. */
async function readLayer(
  archive: DockerArchive,
  path: string,
  diffId: string,
  signal: AbortSignal,
): Promise<Layer> {
  const { file } = archive;
  const found = archive.find(path);
  const { offset, size } = found;
  const compression = compressionOf(await file.read(offset, Math.min(MAGIC_LENGTH, size)));
  if (compression === undefined) {
    throw file.invalid(`its layer ${diffId} is compressed with neither gzip nor zstd`);
  }
  // A plain layer's digest is its diff ID, which the configuration has: nothing need be read.
  if (compression === "none") return { mediaType: LAYER_TYPE, digest: diffId, file: found };
  const named = NAMED_BY_DIGEST.exec(path)?.[1];
  const digest = named === undefined
    ? await digestOfStream(file.stream(offset, size), file.name, signal)
    : `sha256:${named}`;
  return { mediaType: `${LAYER_TYPE}+${compression}`, digest, file: found };
}

/** Docker's id of an image is its configuration's digest: a name that says another one lies. */
function requireNamed(archive: DockerArchive, path: string, digest: string): void {
  const named = NAMED_BY_DIGEST.exec(path)?.[1];
  if (named === undefined || digest === `sha256:${named}`) return;
  throw new HutchError(
    "digest_mismatch",
    `Cannot read ${archive.file.name}: its configuration ${path} has digest ${digest}`,
  );
}

async function digestOfStream(
  stream: ReadableStream<Uint8Array>,
  name: string,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of stream) {
    if (signal.aborted) {
      throw new HutchError("cancelled", `Cannot read ${name}: it was cancelled`, {
        cause: signal.reason,
      });
    }
    hash.update(piece);
  }
  return `sha256:${hash.digest("hex")}`;
}
