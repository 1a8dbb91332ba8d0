/**
 * The files that an image is made of, for whoever puts them somewhere else.
 *
 * @module
 */
import { HutchError } from "../../errors.ts";
import type { ImageLedger } from "../records.ts";
import type { ImageStore } from "../store.ts";
import { describe } from "./archive.ts";
import { blobBytes } from "./save.ts";

/** A blob of an image. */
export interface OpenedBlob {
  /** `sha256:…` */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
}

/** An image that stays here until this is disposed of. */
export interface OpenedImage extends Disposable {
  /** Its manifest, its configuration and its layers, each once and in this order. */
  readonly blobs: readonly OpenedBlob[];
  /** The bytes of one of them; throws `digest_mismatch` when they aren't its own. */
  read(blob: OpenedBlob): AsyncIterable<Uint8Array<ArrayBuffer>>;
}

/**
 * Opens an image that is here; layers that went missing are fetched again.
 *
 * @throws {HutchError} `image_not_found`, and what fetching throws.
 */
export async function openImage(
  { store, ledger }: { readonly store: ImageStore; readonly ledger: ImageLedger },
  digest: string,
  signal: AbortSignal,
): Promise<OpenedImage> {
  const record = ledger.getByDigest(digest);
  const held = record && await store.hold(record, signal);
  if (!record || !held) {
    throw new HutchError("image_not_found", `Cannot read image ${digest}: it isn't here`, {
      hint: "pull it again",
    });
  }
  using resources = new DisposableStack();
  resources.use(held);
  await store.ensureBlobs(record, { signal });
  const { bytes, config, layers } = await describe({ record, references: [] }, store.blobs, "read");
  const all = [{ digest, size: bytes.length }, config, ...layers]
    .map(({ digest, size }): [string, OpenedBlob] => [digest, { digest, size }]);
  const kept = resources.move();
  return {
    blobs: [...new Map(all).values()],
    read: (blob) => blobBytes(store.blobs, blob, { signal, doing: "read" }),
    [Symbol.dispose]: () => kept.dispose(),
  };
}
