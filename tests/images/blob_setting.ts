/**
 * What tests of the blob store share: a blob, stores, and sources that give it.
 *
 * @module
 */
import { join } from "node:path";
import { BlobStore } from "../../src/images/blobs/blob_store.ts";
import type { BlobOpener } from "../../src/images/pull/download.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { TempFolder } from "../support/temp.ts";

export const BYTES = Uint8Array.from({ length: 3_000_000 }, (_, index) => (index * 7919) >> 3);
export const DIGEST = digestOf(BYTES);
export const HEX = digestHex(DIGEST);
export const FOREVER = new AbortController().signal;

/** A store in a folder of its own. */
export class TempStore implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly path: string;
  readonly store: BlobStore;

  constructor(path?: string) {
    this.path = path ?? this.#folder.path;
    this.store = new BlobStore({
      blobs: join(this.path, "blobs"),
      partial: join(this.path, "partial"),
      retryDelayMs: 0,
    });
  }

  /** Every file, such as `blobs/HEX`. */
  files(): readonly string[] {
    return ["blobs", "partial"].flatMap((folder) => {
      try {
        return [...Deno.readDirSync(join(this.path, folder))].map((f) => `${folder}/${f.name}`);
      } catch {
        return [];
      }
    }).sort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#folder[Symbol.asyncDispose]();
  }
}

/** A stream of `bytes` in pieces, which then ends, or breaks with `error`. */
export function streamOf(bytes: Uint8Array<ArrayBuffer>, error?: Error, piece = 100_000) {
  let at = 0;
  return new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      if (at < bytes.length) {
        controller.enqueue(bytes.slice(at, at + piece));
        at += piece;
      } else if (error) controller.error(error);
      else controller.close();
    },
  });
}

/** Gives `bytes` from the wanted place on, and remembers which that was. */
export function serving(bytes: Uint8Array<ArrayBuffer>): { open: BlobOpener; offsets: number[] } {
  const offsets: number[] = [];
  return {
    offsets,
    open: ({ offset }) => {
      offsets.push(offset);
      return Promise.resolve({ start: offset, body: streamOf(bytes.subarray(offset)) });
    },
  };
}
