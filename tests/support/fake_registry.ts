/**
 * A registry in this process that can be made to misbehave, and images to serve from it.
 *
 * @module
 */
import { digestOf } from "../../src/images/digest.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";

/** An image in memory. */
export interface MemoryImage {
  readonly digest: string;
  readonly manifest: Uint8Array<ArrayBuffer>;
  /** Configuration and layers by digest. */
  readonly blobs: ReadonlyMap<string, Uint8Array<ArrayBuffer>>;
  /** The layers' digests, the lowest first. */
  readonly layers: readonly string[];
}

/**
 * An image whose layers have these contents (bytes that a puller never looks into).
 *
 * @param more Further fields of its configuration.
 */
export function memoryImage(
  layers: readonly Uint8Array<ArrayBuffer>[],
  architecture = "amd64",
  more: Readonly<Record<string, unknown>> = {},
): MemoryImage {
  const described = layers.map((layer) => ({ digest: digestOf(layer), size: layer.length }));
  const image = describedImage(described, architecture, more);
  const blobs = layers.map((layer) => [digestOf(layer), layer] as const);
  return { ...image, blobs: new Map([...image.blobs, ...blobs]) };
}

/** An image whose layers somebody else has: its only blob is its configuration. */
export function describedImage(
  layers: readonly { readonly digest: string; readonly size: number }[],
  architecture = "amd64",
  more: Readonly<Record<string, unknown>> = {},
): MemoryImage {
  const config = json({
    ...more,
    architecture,
    os: "linux",
    config: { Env: ["PATH=/bin"], Cmd: ["sh"] },
    rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(config),
      size: config.length,
    },
    layers: layers.map((layer) => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      ...layer,
    })),
  });
  return {
    digest: digestOf(manifest),
    manifest,
    blobs: new Map([[digestOf(config), config]]),
    layers: layers.map(({ digest }) => digest),
  };
}

/** An index over images, by architecture. */
export function memoryIndex(
  images: Readonly<Record<string, MemoryImage>>,
): Uint8Array<ArrayBuffer> {
  return json({
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: Object.entries(images).map(([architecture, { digest, manifest }]) => ({
      mediaType: MANIFEST,
      digest,
      size: manifest.length,
      platform: { os: "linux", architecture },
    })),
  });
}

/** `size` bytes that look random and are the same for the same seed. */
export function someBytes(size: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed;
  return Uint8Array.from({ length: size }, () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return state >> 16;
  });
}

/** Answers a request instead of the registry, or leaves it to it. */
export type Misbehaviour = (
  request: Request,
  url: URL,
) => Response | undefined | Promise<Response | undefined>;

/** Serves what was added, on a loopback port, until disposed. */
export class FakeRegistry implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #manifests = new Map<string, { bytes: Uint8Array<ArrayBuffer>; type: string }>();
  readonly #blobs = new Map<string, Uint8Array<ArrayBuffer>>();
  /** Every request so far: its path, and the headers it came with. */
  readonly requests: { readonly path: string; readonly headers: Headers }[] = [];
  /** Asked before each answer. */
  misbehave: Misbehaviour = () => undefined;

  /** @param tls Certificate and key, as PEM. @default {plain HTTP} */
  constructor(tls?: { readonly cert: string; readonly key: string }) {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {}, ...tls },
      (request) => this.#answer(request),
    );
  }

  /** `127.0.0.1:PORT`. */
  get host(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  /** The paths requested so far, without `/v2/`. */
  get paths(): readonly string[] {
    return this.requests.map(({ path }) => path.replace(/^\/v2\//, ""));
  }

  /** Adds a manifest under `name:tag` and its digest. */
  addManifest(path: string, bytes: Uint8Array<ArrayBuffer>, type: string): void {
    const [name = "", tag = ""] = path.split(":");
    this.#manifests.set(`${name}/manifests/${tag}`, { bytes, type });
    this.#manifests.set(`${name}/manifests/${digestOf(bytes)}`, { bytes, type });
  }

  /** Adds an image under `name:tag`. */
  addImage(path: string, image: MemoryImage): void {
    this.addManifest(path, image.manifest, MANIFEST);
    for (const [digest, bytes] of image.blobs) this.#blobs.set(digest, bytes);
  }

  /** Adds an index over images under `name:tag`. */
  addIndex(path: string, images: Readonly<Record<string, MemoryImage>>): void {
    for (const image of Object.values(images)) this.addImage(path, image);
    this.addManifest(path, memoryIndex(images), INDEX);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const url = new URL(request.url);
    this.requests.push({ path: url.pathname, headers: request.headers });
    const other = await this.misbehave(request, url);
    if (other) return other;
    const path = url.pathname.replace(/^\/v2\//, "");
    const manifest = this.#manifests.get(path);
    if (manifest) {
      if (request.headers.get("if-none-match") === `"${digestOf(manifest.bytes)}"`) {
        return new Response(null, { status: 304 });
      }
      return new Response(manifest.bytes, {
        headers: {
          "content-type": manifest.type,
          "docker-content-digest": digestOf(manifest.bytes),
        },
      });
    }
    const blob = this.#blobs.get(/\/blobs\/(.*)$/.exec(path)?.[1] ?? "");
    if (blob) return blobResponse(blob, request);
    return Response.json({ errors: [{ code: "NOT_FOUND", message: "no such thing" }] }, {
      status: 404,
    });
  }
}

/** The whole blob, or the range that was asked for. */
export function blobResponse(blob: Uint8Array<ArrayBuffer>, request: Request): Response {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
  if (start === 0) return new Response(blob);
  return new Response(blob.slice(start), {
    status: 206,
    headers: { "content-range": `bytes ${start}-${blob.length - 1}/${blob.length}` },
  });
}

/** Bytes, and then the connection breaks. */
export function breakingResponse(bytes: Uint8Array<ArrayBuffer>): Response {
  return new Response(ReadableStream.from([bytes]), {
    headers: { "content-length": String(bytes.length + 1) },
  });
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}
