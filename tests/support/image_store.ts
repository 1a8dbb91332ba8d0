/**
 * An image store of its own, with what it asks registries and keeps.
 *
 * @module
 */
import { join } from "node:path";
import { registrySource } from "../../plugins/sources/registry.ts";
import { ImageManager } from "../../src/images/manage/manage.ts";
import { parsePlatform } from "../../src/images/platform.ts";
import {
  type ImageLedger,
  type ImageRecords,
  MemoryImageRecords,
} from "../../src/images/records.ts";
import type { ImageSource } from "../../src/images/source.ts";
import type { BaseDiskRequest } from "../../src/images/base_disk/base_disks.ts";
import { ImageStore } from "../../src/images/store.ts";
import type { AskOfImages } from "../../src/images/store_options.ts";

/** What {@link imageStore} takes. */
export interface TestStoreOptions {
  /** @default {records in memory} */
  readonly records?: ImageRecords;
  /** How long a registry may say nothing, in `ms`. @default {30000} */
  readonly timeoutMs?: number;
  /** @default {none can be made} */
  readonly build?: (request: BaseDiskRequest) => Promise<void>;
  /** @default {4} */
  readonly parallelDownloads?: number;
  /** What plugins say. @default {nothing} */
  readonly ask?: AskOfImages;
}

/** The store of a home, which asks registries and doesn't pause long. */
export function imageStore(home: string, options: TestStoreOptions = {}): ImageStore {
  const { sources = {} } = registrySource({
    retryDelayMs: 1,
    ...(options.timeoutMs === undefined ? {} : { timeoutMs: options.timeoutMs }),
  });
  return new ImageStore({
    paths: pathsIn(home),
    records: options.records ?? new MemoryImageRecords(),
    sources: new Map<string, ImageSource>(Object.entries(sources)),
    platform: parsePlatform("linux/amd64"),
    build: options.build ?? (() => Promise.reject(new Error("nobody needs a disk"))),
    retryDelayMs: 1,
    ...(options.ask === undefined ? {} : { ask: options.ask }),
    ...(options.parallelDownloads === undefined
      ? {}
      : { parallelDownloads: options.parallelDownloads }),
  });
}

/** What manages the images of a home. */
export function imageManager(home: string, store: ImageStore, ledger: ImageLedger): ImageManager {
  return new ImageManager({
    paths: pathsIn(home),
    store,
    ledger,
    sources: new Map(),
    verify: () => Promise.resolve(undefined),
    removed: () => {},
    tagged: () => {},
  });
}

function pathsIn(home: string) {
  return {
    blobs: join(home, "blobs/sha256"),
    partial: join(home, "blobs/partial"),
    disks: join(home, "disks"),
  };
}

/** Every file in a home and its size, by its path: `blobs/sha256/HEX`. */
export function filesIn(home: string, below = ""): Record<string, number> {
  const found: Record<string, number> = {};
  for (const { name, isDirectory } of Deno.readDirSync(join(home, below))) {
    const path = join(below, name);
    if (isDirectory) Object.assign(found, filesIn(home, path));
    else found[path] = Deno.lstatSync(join(home, path)).size;
  }
  return found;
}
