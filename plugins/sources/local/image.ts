/**
 * Images that hutch describes itself, around one layer made of this machine's files.
 *
 * @module
 */
import { digestOf, hostPlatform, HutchError, type SourceImage } from "../../../mod.ts";

/** The one layer, kept uncompressed. */
export interface LocalLayer {
  readonly mediaType: string;
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  /** Its bytes, from the first on. */
  stream(signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>>;
}

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/**
 * An image for this machine with no settings but a search path.
 *
 * @param name How errors call it.
 * @param close Lets go of the files.
 */
export function localImage(
  layer: LocalLayer,
  { name, close }: { readonly name: string; readonly close: () => void },
): SourceImage {
  const { os, architecture, variant } = hostPlatform();
  const { mediaType, digest, size } = layer;
  const config = json({
    architecture,
    ...(variant === undefined ? {} : { variant }),
    os,
    config: { Env: [PATH] },
    rootfs: { type: "layers", diff_ids: [digest] },
  });
  const configDigest = digestOf(config);
  const manifest = json({
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: configDigest,
      size: config.length,
    },
    layers: [{ mediaType, digest, size }],
  });
  // What has changed once doesn't change back: whoever asks again is told at once.
  let broken: Error | undefined;
  async function* watched(signal: AbortSignal): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    try {
      yield* layer.stream(signal);
    } catch (error) {
      if (!signal.aborted && error instanceof Error) broken = error;
      throw error;
    }
  }
  return {
    digest: digestOf(manifest),
    manifest,
    blob(wanted, { signal }) {
      if (wanted === digest && broken) return Promise.reject(broken);
      if (wanted === digest) {
        return Promise.resolve({ start: 0, body: ReadableStream.from(watched(signal)) });
      }
      if (wanted === configDigest) {
        return Promise.resolve({ start: 0, body: new Blob([config]).stream() });
      }
      return Promise.reject(
        new HutchError("invalid_image", `Cannot read ${name}: it has no blob ${wanted}`),
      );
    },
    [Symbol.asyncDispose]() {
      close();
      return Promise.resolve();
    },
  };
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}
