/**
 * Image manifests and indexes, OCI's and Docker's (schema 2).
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import { type JsonObject, JsonReader } from "./json.ts";
import { formatPlatform, type Platform, platformDistance } from "./platform.ts";

/** Largest manifest or index, in bytes; what the distribution specification asks registries to take. */
export const MANIFEST_LIMIT = 4 * 1024 * 1024;
/** Most layers of an image. Docker stops at 127; other builders go further. */
export const LAYER_COUNT_LIMIT = 512;
/** Largest layer as stored, in bytes: 1 TiB. */
export const LAYER_LIMIT = 2 ** 40;
const INDEX_COUNT_LIMIT = 4096;
const ANNOTATION_LIMIT = 10_000;

/** Media types of an index: a list of manifests, mostly one per platform. */
export const INDEX_TYPES: readonly string[] = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
];
/** Media types of an image's manifest. */
export const MANIFEST_TYPES: readonly string[] = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
/**
 * Media type of a layer that is a whole disk, in the one form that `packDisk` gives it; it is the
 * only layer of its image.
 */
export const DISK_TYPE = "application/vnd.hutch.disk.layer.v1.qcow2";
const CONFIG_TYPES: readonly string[] = [
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
];
/** How a layer is compressed, by its media type. */
const LAYER_TYPES: ReadonlyMap<string, "none" | "gzip" | "zstd"> = new Map([
  ["application/vnd.oci.image.layer.v1.tar", "none"],
  ["application/vnd.oci.image.layer.v1.tar+gzip", "gzip"],
  ["application/vnd.oci.image.layer.v1.tar+zstd", "zstd"],
  ["application/vnd.docker.image.rootfs.diff.tar", "none"],
  ["application/vnd.docker.image.rootfs.diff.tar.gzip", "gzip"],
  ["application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"],
]);
const SCHEMA_1 = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;
const FOREIGN = /nondistributable|rootfs\.foreign/;

/** What a manifest says of a blob, and an index of a manifest. */
export interface Descriptor {
  /** Media type of the content. */
  readonly mediaType: string;
  /** `sha256:…` */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  /** In an index: what the manifest is for. */
  readonly platform?: Platform;
  /** Annotations by their keys. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** A list of manifests. */
export interface ImageIndex {
  /** Tells it from an image. */
  readonly kind: "index";
  /** Its images, one a platform. */
  readonly manifests: readonly Descriptor[];
}

/** An image: its configuration and its layers, the lowest first. */
export interface ImageManifest {
  /** Tells it from an index. */
  readonly kind: "image";
  /** Its configuration. */
  readonly config: Descriptor;
  /** Its layers, the lowest first. */
  readonly layers: readonly Descriptor[];
}

/** How layers of this media type are compressed; undefined when hutch can't read them. */
export function layerCompression(mediaType: string): "none" | "gzip" | "zstd" | undefined {
  return LAYER_TYPES.get(mediaType);
}

/** Whether the image is a disk of its own: its one layer's blob is its base disk, as it is. */
export function isDiskImage(
  image: { readonly layers: readonly Pick<Descriptor, "mediaType">[] },
): boolean {
  return image.layers.some(({ mediaType }) => mediaType === DISK_TYPE);
}

/**
 * Reads a manifest or an index, whichever it is.
 *
 * @param document How errors call it, such as `the manifest of debian:12`.
 * @param mediaType What the source or the descriptor says it is, if it says; must agree.
 * @throws {HutchError} `invalid_image`
 */
export function parseManifest(
  bytes: Uint8Array,
  document: string,
  mediaType?: string,
): ImageManifest | ImageIndex {
  const reader = new JsonReader(document);
  if (mediaType !== undefined && SCHEMA_1.test(mediaType)) throw schema1(reader);
  const top = reader.parse(bytes, MANIFEST_LIMIT);
  const version = top["schemaVersion"];
  if (version === 1) throw schema1(reader);
  if (version !== 2) throw reader.fail("its schemaVersion isn't 2");
  const own = reader.optionalString(top["mediaType"], "mediaType");
  const named = own ?? known(mediaType);
  if (own !== undefined && known(mediaType) !== undefined && own !== mediaType) {
    throw reader.fail(`it says it is ${own}, but was announced as ${mediaType}`);
  }
  // One document that reads as either would mean something else to every reader.
  const looksLikeIndex = "manifests" in top;
  if (looksLikeIndex && ("layers" in top || "config" in top)) {
    throw reader.fail("it has the fields of both an index and an image");
  }
  if (named !== undefined && !INDEX_TYPES.includes(named) && !MANIFEST_TYPES.includes(named)) {
    throw reader.fail(`its media type ${JSON.stringify(named)} is unknown`);
  }
  if (named !== undefined && INDEX_TYPES.includes(named) !== looksLikeIndex) {
    throw reader.fail(`its fields don't fit its media type ${named}`);
  }
  return looksLikeIndex ? readIndex(reader, top) : readImage(reader, top);
}

/** A media type that says something; generic ones come from servers that don't know better. */
function known(mediaType: string | undefined): string | undefined {
  return mediaType?.startsWith("application/vnd.") ? mediaType : undefined;
}

function schema1(reader: JsonReader): HutchError {
  return reader.fail("it is of Docker's old schema 1; push the image again with a current tool");
}

function readIndex(reader: JsonReader, top: JsonObject): ImageIndex {
  const manifests = reader.array(top["manifests"], "manifests", INDEX_COUNT_LIMIT)
    .map((entry, index) =>
      readDescriptor(reader, entry, `manifests[${index}]`, Number.MAX_SAFE_INTEGER)
    );
  return { kind: "index", manifests };
}

function readImage(reader: JsonReader, top: JsonObject): ImageManifest {
  const config = readDescriptor(reader, top["config"], "config", LAYER_LIMIT);
  if (!CONFIG_TYPES.includes(config.mediaType)) {
    const shown = JSON.stringify(config.mediaType);
    throw reader.fail(`it isn't a container image: its config's media type is ${shown}`);
  }
  const layers = reader.array(top["layers"], "layers", LAYER_COUNT_LIMIT)
    .map((entry, index) => readLayer(reader, entry, `layers[${index}]`));
  if (layers.length !== 1 && isDiskImage({ layers })) {
    throw reader.fail("it has other layers beside a disk");
  }
  return { kind: "image", config, layers };
}

function readLayer(reader: JsonReader, entry: unknown, field: string): Descriptor {
  const layer = readDescriptor(reader, entry, field, LAYER_LIMIT);
  if (LAYER_TYPES.has(layer.mediaType) || layer.mediaType === DISK_TYPE) return layer;
  const shown = JSON.stringify(layer.mediaType);
  if (FOREIGN.test(layer.mediaType)) {
    throw reader.fail(`${field} is a foreign layer (${shown}), which its registry doesn't hold`);
  }
  throw reader.fail(`${field}'s media type ${shown} is unknown`);
}

function readDescriptor(
  reader: JsonReader,
  value: unknown,
  field: string,
  limit: number,
): Descriptor {
  const object = reader.object(value, field);
  const platform = readPlatform(reader, object["platform"], `${field}.platform`);
  return {
    mediaType: reader.string(object["mediaType"], `${field}.mediaType`),
    digest: reader.digest(object["digest"], `${field}.digest`),
    size: reader.size(object["size"], `${field}.size`, limit),
    annotations: reader.stringMap(
      object["annotations"],
      `${field}.annotations`,
      ANNOTATION_LIMIT,
    ),
    ...(platform === undefined ? {} : { platform }),
  };
}

function readPlatform(reader: JsonReader, value: unknown, field: string): Platform | undefined {
  if (value === undefined || value === null) return undefined;
  const object = reader.object(value, field);
  const variant = reader.optionalString(object["variant"], `${field}.variant`);
  return {
    os: reader.string(object["os"], `${field}.os`),
    architecture: reader.string(object["architecture"], `${field}.architecture`),
    ...(variant === undefined || variant === "" ? {} : { variant }),
  };
}

/**
 * The manifest of an index that fits `platform` best; the first of equals. An index with a single
 * image that names no platform has that one. The choice may itself be an index.
 *
 * @throws {HutchError} `platform_unsupported`, listing what there is.
 */
export function chooseManifest(
  manifests: readonly Descriptor[],
  platform: Platform,
  document: string,
): Descriptor {
  const images = manifests.filter(({ mediaType }) =>
    INDEX_TYPES.includes(mediaType) || MANIFEST_TYPES.includes(mediaType)
  );
  let best: { descriptor: Descriptor; distance: number } | undefined;
  for (const descriptor of images) {
    const offered = descriptor.platform;
    const distance = offered && platformDistance(platform, offered);
    if (distance === undefined || (best && best.distance <= distance)) continue;
    best = { descriptor, distance };
  }
  if (best) return best.descriptor;
  const [only] = images;
  if (only && images.length === 1 && only.platform === undefined) return only;
  const nested = images.filter((d) =>
    d.platform === undefined && INDEX_TYPES.includes(d.mediaType)
  );
  if (nested[0] && nested.length === 1) return nested[0];
  const offers = new Set(
    images.map((d) => d.platform ? formatPlatform(d.platform) : "(no platform)")
      .filter((text) => text !== "unknown/unknown"),
  );
  throw new HutchError(
    "platform_unsupported",
    `Cannot use ${document}: it has nothing for ${formatPlatform(platform)}, only ` +
      (offers.size === 0 ? "no images at all" : [...offers].slice(0, 20).join(", ")),
  );
}
