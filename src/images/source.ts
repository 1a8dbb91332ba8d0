/**
 * What an image source is: something that answers a reference with a manifest and its blobs.
 *
 * @module
 */
import type { Platform } from "./platform.ts";

/** What hutch asks a source for. */
export interface SourceRequest {
  /** The reference without its scheme: `debian:12` of `registry:debian:12`, a path of `oci:PATH`. */
  readonly reference: string;
  /** The platform wanted. */
  readonly platform: Platform;
  /** These registries (`host[:port]`) are spoken to in plain HTTP, as loopback ones always are. */
  readonly insecureRegistries: readonly string[];
  readonly signal: AbortSignal;
}

/** Opens images of one scheme. */
export interface ImageSource {
  /**
   * The reference's full, canonical spelling, without the scheme, such as
   * `docker.io/library/debian:12`. Throws `invalid_reference`. Makes no request.
   */
  canonical(reference: string): string;
  /**
   * The reference of the manifest with this digest at the same place, whatever the tag means by
   * now. Sources that can't name manifests by digest leave it out.
   */
  pin?(reference: string, digest: string): string;
  /** Finds the image. Throws `image_not_found` when there is none. */
  open(request: SourceRequest): Promise<SourceImage>;
}

/** One image at its source, open until disposed. */
export interface SourceImage extends AsyncDisposable {
  /** Digest of `manifest`, `sha256:…`; the chosen manifest's, if it came from an index. */
  readonly digest: string;
  /**
   * The exact bytes of the chosen image manifest (OCI or Docker schema 2), at most 4 MiB; the caller
   * verifies and parses them.
   */
  readonly manifest: Uint8Array<ArrayBuffer>;
  /**
   * The bytes of a blob named in the manifest, from `offset` on. `start` of the result says where the
   * stream really begins: a source that can't resume answers 0. The caller verifies digest and size;
   * it ends or cancels the stream. When the stream breaks, the caller asks again from where it stopped.
   */
  blob(
    digest: string,
    options: { offset: number; signal: AbortSignal },
  ): Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }>;
}
