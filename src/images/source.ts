/**
 * What an image source is: something that answers a reference with a manifest and its blobs.
 *
 * @module
 */
import type { Credentials } from "../plugin/contract.ts";
import type { Platform } from "./platform.ts";
import type { RegistrySettings } from "./registry/registries.ts";

/** An image that a reference meant before, and whose manifest is still here. */
export interface KnownImage {
  /** {@link SourceImage.resolvedDigest} as it was then. */
  readonly resolvedDigest: string;
  /** Digest of `manifest`. */
  readonly digest: string;
  /** The exact bytes of the image's manifest, checked. */
  readonly manifest: Uint8Array<ArrayBuffer>;
}

/** What hutch asks a source for. */
export interface SourceRequest {
  /** The reference without its scheme: `debian:12` of `registry:debian:12`, a path of `oci:PATH`. */
  readonly reference: string;
  /** The platform wanted. */
  readonly platform: Platform;
  /** How registries are spoken to, by their names as in references. @default {no wishes} */
  readonly registries?: ReadonlyMap<string, RegistrySettings>;
  /**
   * What the reference meant when it was pulled last: a source that can ask whether this is so still
   * need not fetch it again. @default {unknown}
   */
  readonly known?: KnownImage | undefined;
  /**
   * Whom to be at a registry (`host[:port]`, such as `docker.io`), by the query `credentials`;
   * undefined is nobody. Keep the answer out of logs and errors.
   */
  readonly credentials: (registry: string) => Promise<Credentials | undefined>;
  /** Ends the request. */
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
  /**
   * The images in one file, for `hutch image load`; undefined when the file is of another kind. Throws
   * `invalid_image` when it is of this kind, but broken. Sources that read no files leave it out.
   *
   * @param path Absolute.
   */
  contents?(path: string, signal: AbortSignal): Promise<readonly ArchivedImage[] | undefined>;
  /**
   * Tries credentials at a registry. Throws `registry_denied` when it doesn't take them. Sources
   * without registries leave it out.
   */
  logIn?(request: LoginRequest): Promise<LoginAnswer>;
  /**
   * Brings an image to where the reference says. Throws `registry_denied` when it may not. Sources
   * that can't be written to leave it out.
   */
  push?(request: PushRequest): Promise<PushAnswer>;
}

/** An image that is to be brought somewhere. */
export interface PushRequest
  extends Pick<SourceRequest, "reference" | "registries" | "credentials" | "signal"> {
  /** The exact bytes of its manifest. */
  readonly manifest: Uint8Array<ArrayBuffer>;
  /** The manifest's media type. */
  readonly mediaType: string;
  /** What the manifest names, each once: its configuration and its layers. */
  readonly blobs: readonly PushBlob[];
  /** Told as it goes on. Doesn't throw. */
  readonly onProgress: (event: PushEvent) => void;
}

/** A blob that is to be brought along. */
export interface PushBlob {
  /** `sha256:…` */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  /** References, without their scheme, of images that have it and came from such a source, too. */
  readonly from: readonly string[];
  /** Its bytes, from the beginning each time; throws `digest_mismatch` when they aren't its own. */
  read(signal: AbortSignal): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/** How a push goes. */
export interface PushEvent {
  /** The last one of a blob is `blob.done`. */
  readonly type: "blob" | "blob.done";
  /** The blob's. */
  readonly digest: string;
  /** Bytes of it that were sent. */
  readonly bytes: number;
  /** Bytes that it has. */
  readonly size: number;
  /** At its end: it was there, the registry took it from another repository, or it was sent. */
  readonly outcome?: "there" | "mounted" | "sent";
}

/** What became of a push. */
export interface PushAnswer {
  /** Digest of the manifest. */
  readonly digest: string;
  /** How many blobs were there, came from another repository there, or were sent. */
  readonly blobs: { readonly there: number; readonly mounted: number; readonly sent: number };
}

/** Credentials to be tried. */
export interface LoginRequest extends Pick<SourceRequest, "registries" | "signal"> {
  /** As in references. */
  readonly registry: string;
  /** Who to log in as. */
  readonly credentials: Credentials;
}

/** What became of a try. */
export interface LoginAnswer {
  /** What to keep: a token that the registry gave in place of the password, or what was tried. */
  readonly credentials: Credentials;
  /** False where the registry lets in everybody, so that nothing was checked. */
  readonly checked: boolean;
}

/** One image of a file with several. */
export interface ArchivedImage {
  /** What `open` takes, without the scheme. */
  readonly reference: string;
  /** What the file calls it, such as `debian:12`: unchecked, and none when it has no name. */
  readonly names: readonly string[];
}

/** One image at its source, open until disposed. */
export interface SourceImage extends AsyncDisposable {
  /** Digest of `manifest`, `sha256:…`; the chosen manifest's, if it came from an index. */
  readonly digest: string;
  /**
   * Digest of what the reference itself names, which may be an index; given back as
   * {@link SourceRequest.known}. Sources that have no use for it leave it out.
   */
  readonly resolvedDigest?: string;
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
