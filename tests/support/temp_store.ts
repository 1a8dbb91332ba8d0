/**
 * A store of images in a folder of its own, with disks that are no more than layers behind each other.
 *
 * @module
 */
import { join } from "node:path";
import { ociSource } from "../../plugins/sources/oci.ts";
import { registrySource } from "../../plugins/sources/registry.ts";
import { HutchError } from "../../src/errors.ts";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import type { PullEvent } from "../../src/images/pull/pull.ts";
import { MemoryImageRecords } from "../../src/images/records.ts";
import type { ImageSource } from "../../src/images/source.ts";
import type { BaseDiskRequest } from "../../src/images/base_disk/base_disks.ts";
import { ImageStore } from "../../src/images/store.ts";
import type { AskOfImages } from "../../src/images/store_options.ts";
import { FakeRegistry, type MemoryImage, memoryImage, someBytes } from "./fake_registry.ts";
import { TempFolder } from "./temp.ts";

export const LAYERS = [100_000, 200_000, 300_000, 1000, 2000, 3000].map(someBytes);
export const IMAGE = memoryImage(LAYERS);

/** Puts the layers behind each other: enough to see which files a disk is made from. */
export async function concatenate(request: BaseDiskRequest): Promise<void> {
  let done = 0;
  for (const { path, diffId } of request.layers) {
    const bytes = await Deno.readFile(path);
    if (digestOf(bytes) !== diffId) throw new HutchError("digest_mismatch", "wrong diff ID");
    await Deno.writeFile(request.output, bytes, { append: true });
    request.onProgress?.(done += bytes.length);
  }
}

/** A store in a folder of its own, or in one that others use too. */
export class TempStore implements AsyncDisposable {
  readonly #folder = new TempFolder();
  readonly home: string;
  readonly records = new MemoryImageRecords();
  readonly store: ImageStore;
  readonly events: PullEvent[] = [];
  build: (request: BaseDiskRequest) => Promise<void> = concatenate;
  ask: AskOfImages = { credentials: unasked, verify: unasked };

  constructor(home?: string) {
    this.home = home ?? this.#folder.path;
    const sources = new Map<string, ImageSource>();
    for (const plugin of [registrySource({ retryDelayMs: 1 }), ociSource()]) {
      for (const [scheme, source] of Object.entries(plugin.sources ?? {})) {
        sources.set(scheme, source);
      }
    }
    this.store = new ImageStore({
      paths: {
        blobs: join(this.home, "blobs/sha256"),
        partial: join(this.home, "blobs/partial"),
        disks: join(this.home, "disks"),
      },
      records: this.records,
      sources,
      platform: parsePlatform("linux/amd64"),
      build: (request) => this.build(request),
      ask: {
        credentials: (registry, signal) => this.ask.credentials(registry, signal),
        verify: (image, signal) => this.ask.verify(image, signal),
      },
      retryDelayMs: 1,
    });
  }

  readonly onProgress = (event: PullEvent): void => void this.events.push(event);

  /** Every file in the home, such as `blobs/sha256/HEX`. */
  files(): readonly string[] {
    return ["blobs/sha256", "blobs/partial", "disks"].flatMap((folder) => {
      try {
        return [...Deno.readDirSync(join(this.home, folder))].map((f) => `${folder}/${f.name}`);
      } catch {
        return [];
      }
    }).sort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#folder[Symbol.asyncDispose]();
  }
}

export function unasked(): Promise<undefined> {
  return Promise.resolve(undefined);
}

export function serving(image: MemoryImage = IMAGE): FakeRegistry {
  const registry = new FakeRegistry();
  registry.addImage("a/b:1", image);
  return registry;
}

export function blobFiles(image: MemoryImage): readonly string[] {
  return [image.digest, ...image.blobs.keys()].map((digest) => `blobs/sha256/${digestHex(digest)}`)
    .sort();
}
