/**
 * Making an image of another one and a layer more.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { constants, createGzip } from "node:zlib";
import { pipeline } from "node:stream/promises";
import { PassThrough, Readable } from "node:stream";
import { Buffer } from "node:buffer";
import { HutchError } from "../../errors.ts";
import { parseConfig } from "../config.ts";
import { digestOf } from "../digest.ts";
import { isDiskImage, layerCompression, parseManifest } from "../manifest.ts";
import { describeImage } from "../pull/pull.ts";
import type { ImageLedger, ImageRecord } from "../records.ts";
import type { ImageStore } from "../store.ts";
import { describe } from "./archive.ts";

/** What of an image's configuration becomes another. */
export interface ImageConfigChange {
  /** Its command. */
  readonly cmd?: readonly string[];
  /** Its entrypoint. */
  readonly entrypoint?: readonly string[];
  /** Variables, which are added. */
  readonly env?: Readonly<Record<string, string>>;
  /** Labels, which are added. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Whom its commands run as. */
  readonly user?: string;
  /** Folder that they begin in. */
  readonly workingDir?: string;
}

/** What a new image is made of. */
export interface NewImage {
  /** Digest of the image below. */
  readonly base: string;
  /** The tar of the layer; undefined for none. */
  readonly layer: AsyncIterable<Uint8Array<ArrayBuffer>> | undefined;
  /** Whether the layer holds all that the image has: those below aren't kept then. */
  readonly whole: boolean;
  readonly config: ImageConfigChange;
  /** What its history says. */
  readonly message: string;
  readonly author: string | undefined;
}

/** A layer that was made. */
export interface AddedLayer {
  /** Digest of the blob, which is compressed. */
  readonly digest: string;
  /** Its size in bytes. */
  readonly size: number;
  /** Digest of the layer before it was compressed. */
  readonly diffId: string;
}

/** An image that was made, for the caller to record. */
export interface MadeImage {
  readonly record: ImageRecord;
  readonly manifest: Uint8Array<ArrayBuffer>;
  readonly layer: AddedLayer | null;
}

type Json = Readonly<Record<string, unknown>>;

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar";
const SUFFIXES = { none: "", gzip: "+gzip", zstd: "+zstd" } as const;
const PIECE = 256 * 1024;

/**
 * Makes an image and keeps what it is made of until `use` has recorded it.
 *
 * @param reference What the image is called, canonical.
 * @throws {HutchError} `image_not_found`, `invalid_image`, `no_space`, `cancelled`, and what the layer
 * throws.
 */
export async function addLayer<T>(
  { store, ledger }: { readonly store: ImageStore; readonly ledger: ImageLedger },
  image: NewImage,
  { reference, signal, use }: {
    readonly reference: string;
    readonly signal: AbortSignal;
    readonly use: (made: MadeImage) => Promise<T>;
  },
): Promise<T> {
  await store.sweep().catch(() => {}); // what keeps us from tidying up is told when it matters
  const base = ledger.getByDigest(image.base);
  using held = base && await store.hold(base, signal);
  if (!base || !held) {
    throw new HutchError("image_not_found", `Cannot make an image: ${image.base} isn't here`, {
      hint: "pull it again",
    });
  }
  if (isDiskImage(base) && !image.whole) throw new TypeError("a disk has no layers above it");
  if (!image.whole) await store.ensureBlobs(base, { signal });
  const { blobs } = store;
  const below = await describe({ record: base, references: [] }, blobs, "read");
  using counting = await blobs.use(signal);
  const layer = image.layer ? await compressLayer(store, image.layer, signal) : null;
  const config = configOf(await blobs.read(below.config.digest), image, layer);
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: CONFIG_TYPE, digest: digestOf(config), size: config.length },
    layers: [
      ...image.whole ? [] : base.layers.map(({ digest, size, mediaType }) => ({
        mediaType: `${LAYER_TYPE}${SUFFIXES[layerCompression(mediaType) ?? "none"]}`,
        digest,
        size,
      })),
      ...layer ? [{ mediaType: `${LAYER_TYPE}+gzip`, digest: layer.digest, size: layer.size }] : [],
    ],
  });
  const parsed = parseManifest(manifest, `the manifest of ${reference}`);
  if (parsed.kind !== "image") throw new TypeError("an image was made");
  const digest = digestOf(manifest);
  counting.name([
    digest,
    ...[parsed.config, ...parsed.layers].map((blob) => blob.digest),
  ]);
  for (const bytes of [config, manifest]) {
    const open = () => Promise.resolve({ start: 0, body: new Blob([bytes]).stream() });
    await blobs.ingest(digestOf(bytes), bytes.length, open, { signal });
  }
  const count = parsed.layers.length;
  const described = parseConfig(config, `the configuration of ${reference}`, count);
  const record = describeImage({ reference, digest }, parsed, described);
  return await use({ record: { ...record, origin: null }, manifest, layer });
}

/** Compressed as every tool reads it. */
async function compressLayer(
  { blobs }: ImageStore,
  tar: AsyncIterable<Uint8Array<ArrayBuffer>>,
  signal: AbortSignal,
): Promise<AddedLayer> {
  const plain = createHash("sha256");
  const hashed = async function* () {
    for await (const chunk of tar) {
      plain.update(chunk);
      yield chunk;
    }
  };
  const output = new PassThrough({ highWaterMark: PIECE });
  const gzip = createGzip({ level: constants.Z_DEFAULT_COMPRESSION, chunkSize: PIECE });
  const input = Readable.from(hashed(), { objectMode: false });
  const piped = pipeline(input, gzip, output);
  piped.catch(() => {}); // whoever reads the output is told
  const blob = await blobs.add(chunksOf(output), signal);
  await piped;
  return { ...blob, diffId: `sha256:${plain.digest("hex")}` };
}

async function* chunksOf(stream: Readable): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const chunk of stream) {
    if (Buffer.isBuffer(chunk)) yield new Uint8Array(chunk);
  }
}

function configOf(
  bytes: Uint8Array<ArrayBuffer>,
  { config, whole, message, author }: NewImage,
  layer: AddedLayer | null,
): Uint8Array<ArrayBuffer> {
  const base = fields(JSON.parse(new TextDecoder().decode(bytes)));
  const created = new Date().toISOString();
  const { diff_ids } = fields(base.rootfs);
  const below = whole || !Array.isArray(diff_ids) ? [] : diff_ids;
  const told = whole || !Array.isArray(base.history) ? [] : base.history;
  // Where it says nothing of a layer, the new one's words would be taken for that one's.
  const unsaid = below.length - told.filter((step) => fields(step).empty_layer !== true).length;
  const history = [...told, ...Array.from({ length: Math.max(0, unsaid) }, () => ({}))];
  return json({
    ...base,
    created,
    ...author === undefined ? {} : { author },
    config: changedConfig(fields(base.config), config),
    rootfs: { type: "layers", diff_ids: [...below, ...layer ? [layer.diffId] : []] },
    history: [...history, {
      created,
      created_by: message,
      ...author === undefined ? {} : { author },
      ...layer ? {} : { empty_layer: true },
    }],
  });
}

function changedConfig(
  base: Json,
  { cmd, entrypoint, env = {}, labels = {}, user, workingDir }: ImageConfigChange,
): Json {
  const before = Array.isArray(base.Env) ? base.Env : [];
  const named = (line: unknown) => String(line).split("=")[0] ?? "";
  const kept = before.filter((line: unknown) => !Object.hasOwn(env, named(line)));
  const added = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return {
    ...base,
    ...added.length > 0 ? { Env: [...kept, ...added] } : {},
    ...Object.keys(labels).length > 0 ? { Labels: { ...fields(base.Labels), ...labels } } : {},
    ...entrypoint === undefined ? {} : { Entrypoint: [...entrypoint], Cmd: [] },
    ...cmd === undefined ? {} : { Cmd: [...cmd] },
    ...user === undefined ? {} : { User: user },
    ...workingDir === undefined ? {} : { WorkingDir: workingDir },
  };
}

function fields(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}
