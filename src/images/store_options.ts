/**
 * What the images of a home work with, and are asked with.
 *
 * @module
 */
import type { Credentials, Queries } from "../plugin/contract.ts";
import type { Paths } from "../runtime/paths.ts";
import type { BuildBaseDisk } from "./base_disk/base_disks.ts";
import type { Platform } from "./platform.ts";
import type { PullPolicy } from "./pull/policy.ts";
import type { PullListener } from "./pull/pull.ts";
import type { ImageRecord, ImageRecords } from "./records.ts";
import type { RegistrySettings } from "./registry/registries.ts";
import type { ImageSource } from "./source.ts";

/** The questions that images raise. */
export interface AskOfImages {
  credentials(registry: string, signal: AbortSignal): Promise<Credentials | undefined>;
  verify(
    image: Queries["verify"]["question"],
    signal: AbortSignal,
  ): Promise<Queries["verify"]["answer"] | undefined>;
}

/** Hears that pulls began and ended well. */
export interface PullWatcher {
  pulling(reference: string): void;
  /** `ms` is the whole pull's time. */
  pulled(record: ImageRecord, ms: number): void;
}

/** What an `ImageStore` works with. */
export interface ImageStoreOptions {
  readonly paths: Pick<Paths, "blobs" | "partial" | "disks">;
  readonly records: ImageRecords;
  /** Sources by scheme. */
  readonly sources: ReadonlyMap<string, ImageSource>;
  readonly platform: Platform;
  readonly build: BuildBaseDisk;
  /** What plugins say of registries and images. @default {nothing} */
  readonly ask?: AskOfImages;
  /** Hears of pulls. Mustn't throw. @default {nobody} */
  readonly on?: PullWatcher;
  /** How registries are spoken to, by their names. @default {no wishes} */
  readonly registries?: ReadonlyMap<string, RegistrySettings>;
  /** How many layers are fetched at once, 1 to 32. @default {4} */
  readonly parallelDownloads?: number;
  /** First pause before a broken download goes on, in `ms`. @default {200} */
  readonly retryDelayMs?: number;
}

/** Options of what may pull. */
export interface PullOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: PullListener;
}

/** Options of `ImageStore.pull`. */
export interface StorePullOptions extends PullOptions {
  /** Whether to make the base disk as well, before the image is recorded. @default {false} */
  readonly disk?: boolean;
}

/** Options of `ImageStore.resolve`. */
export interface ResolveOptions extends StorePullOptions {
  /** @default {"missing"} */
  readonly policy?: PullPolicy;
}
