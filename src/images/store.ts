/**
 * The images of a home: found, pulled, and made into base disks.
 *
 * @module
 */
import { join } from "node:path";
import { asNoSpace, exists, removeIfThere } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import type { Paths } from "../runtime/paths.ts";
import { BlobStore } from "./blob_store.ts";
import { digestHex } from "./digest.ts";
import { type Platform, platformDistance } from "./platform.ts";
import { fetchLayers, pullImage, type PullListener } from "./pull.ts";
import type { ImageRecord, ImageRecords, LayerRecord } from "./records.ts";
import { joinScheme, type SchemedReference, splitScheme } from "./reference.ts";
import type { ImageSource, SourceImage } from "./source.ts";
import { sweepFolder } from "./sweep.ts";
import { lockFile } from "./wait.ts";

/** What a base disk is made from. */
export interface BaseDiskRequest {
  /** The lowest first; each file is verified already, its contents aren't. */
  readonly layers: readonly {
    readonly path: string;
    readonly mediaType: string;
    readonly diffId: string;
  }[];
  /** Text that the file system's UUID is derived from: the manifest's digest. */
  readonly uuidFrom: string;
  /** The file to write; it doesn't exist yet. */
  readonly output: string;
  readonly signal: AbortSignal;
  /** Called with how many bytes of the layers' files were used. */
  readonly onProgress?: (bytes: number) => void;
}

/** Makes and syncs a base disk; throws `digest_mismatch` when a layer hasn't its diff ID. */
export type BuildBaseDisk = (request: BaseDiskRequest) => Promise<unknown>;

/** What an {@link ImageStore} works with. */
export interface ImageStoreOptions {
  readonly paths: Pick<Paths, "blobs" | "partial" | "disks">;
  readonly records: ImageRecords;
  /** Sources by scheme. */
  readonly sources: ReadonlyMap<string, ImageSource>;
  readonly platform: Platform;
  readonly build: BuildBaseDisk;
  /** First pause before a broken download goes on, in `ms`. @default {200} */
  readonly retryDelayMs?: number;
}

/** When to ask an image's source. */
export type PullPolicy = "missing" | "always" | "never";

/** Options of what may pull. */
export interface PullOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: PullListener;
  /** Registries (`host[:port]`) to speak plain HTTP to. @default {[]} */
  readonly insecureRegistries?: readonly string[];
}

/** Options of {@link ImageStore.resolve}. */
export interface ResolveOptions extends PullOptions {
  /** @default {"missing"} */
  readonly policy?: PullPolicy;
}

const PARTIAL_LIFE_MS = 7 * 24 * 3600 * 1000;

/** Finds, pulls and unpacks images; any number of programs may use one home at once. */
export class ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #blobs: BlobStore;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    const { paths, retryDelayMs } = options;
    this.#blobs = new BlobStore({
      blobs: paths.blobs,
      partial: paths.partial,
      ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
    });
  }

  /**
   * The canonical spelling of a reference, with its scheme.
   *
   * @throws {HutchError} `invalid_reference`
   */
  canonical(reference: string): string {
    const { split } = this.#find(reference);
    return joinScheme(split);
  }

  /**
   * Removes what programs that died left: locks, unfinished disks, and downloads that nobody went
   * on with for a week. What is in use stays.
   */
  async sweep(): Promise<void> {
    await this.#blobs.sweep(PARTIAL_LIFE_MS);
    await sweepFolder(
      this.#options.paths.disks,
      0,
      (name) => name.endsWith(".new") ? name.slice(0, -".new".length) : undefined,
    );
  }

  /** All images, by their references. */
  async list(): Promise<readonly ImageRecord[]> {
    return await this.#options.records.list();
  }

  /**
   * The image that a reference means; pulled when the policy says so. An image that is here makes
   * no request with policy `missing`.
   *
   * @throws {HutchError} `image_not_found` with policy `never`, and what {@link pull} throws.
   */
  async resolve(reference: string, options: ResolveOptions = {}): Promise<ImageRecord> {
    const { policy = "missing", ...pulling } = options;
    const canonical = this.canonical(reference);
    if (policy === "always") return await this.pull(reference, pulling);
    const known = await this.#options.records.get(canonical);
    const fits = known && platformDistance(this.#options.platform, known.platform) !== undefined;
    if (known && fits) return known;
    if (policy === "missing") return await this.pull(reference, pulling);
    throw new HutchError("image_not_found", `Cannot find ${canonical}: it isn't here`, {
      hint: "pull it first, or allow pulling",
    });
  }

  /**
   * Asks the source, fetches what isn't here, and records the image.
   *
   * @throws {HutchError} `invalid_reference`, `image_not_found`, `registry_…`, `invalid_image`,
   * `digest_mismatch`, `platform_unsupported`, `no_space`, `cancelled`
   */
  async pull(reference: string, options: PullOptions = {}): Promise<ImageRecord> {
    const { source, split } = this.#find(reference);
    const canonical = joinScheme(split);
    const signal = options.signal ?? new AbortController().signal;
    const onProgress = options.onProgress ?? (() => {});
    onProgress({ type: "resolving", reference: canonical });
    await this.sweep().catch(() => {}); // what keeps us from tidying up is told when it matters
    await using image = await this.#open(source, split.rest, signal, options);
    const record = await pullImage({
      reference: canonical,
      image,
      blobs: this.#blobs,
      platform: this.#options.platform,
      signal,
      onProgress,
    });
    await this.#options.records.put(record);
    onProgress({ type: "done", reference: canonical, digest: record.digest });
    return record;
  }

  /**
   * The path of an image's base disk, made when it isn't there; of several programs one makes it.
   * Layers that went missing are fetched again.
   *
   * @param digest Manifest digest of an image that was pulled.
   * @throws {HutchError} `image_not_found`, what the builder throws, `no_space`, `cancelled`
   */
  async baseDisk(digest: string, options: PullOptions = {}): Promise<string> {
    const { paths, records } = this.#options;
    const path = join(paths.disks, `${digestHex(digest)}.ext4`);
    if (await exists(path)) return path;
    const record = await records.getByDigest(digest);
    if (!record) {
      throw new HutchError("image_not_found", `Cannot make a disk of ${digest}: it isn't here`, {
        hint: "pull the image",
      });
    }
    const signal = options.signal ?? new AbortController().signal;
    try {
      await Deno.mkdir(paths.disks, { recursive: true, mode: 0o700 });
      using _lock = await lockFile(`${path}.lock`, signal);
      if (await exists(path)) return path; // somebody else was faster
      await this.#build(record, path, { ...options, signal });
    } catch (error) {
      throw asNoSpace(error, path);
    }
    options.onProgress?.({ type: "disk.done", digest, path });
    return path;
  }

  /** Builds into a temporary name; once more when a blob turns out to have been changed. */
  async #build(
    record: ImageRecord,
    path: string,
    options: PullOptions & { readonly signal: AbortSignal },
  ): Promise<void> {
    for (let attempt = 0;; attempt++) {
      await this.#ensureBlobs(record, options);
      const output = `${path}.new`;
      try {
        await removeIfThere(output); // of a program that died: we hold the lock
        await this.#options.build(this.#request(record, output, options));
        await syncPath(output);
        await Deno.rename(output, path);
        await syncPath(this.#options.paths.disks);
        return;
      } catch (error) {
        await removeIfThere(output);
        const suspect = error instanceof HutchError &&
          (error.code === "digest_mismatch" || error.code === "invalid_image");
        if (!suspect || attempt > 0 || !await this.#removeChanged(record.layers)) throw error;
      }
    }
  }

  #request(
    { layers, digest }: ImageRecord,
    output: string,
    { signal, onProgress }: PullOptions & { readonly signal: AbortSignal },
  ): BaseDiskRequest {
    const total = layers.reduce((sum, { size }) => sum + size, 0);
    return {
      layers: layers.map((layer) => ({
        path: this.#blobs.path(layer.digest),
        mediaType: layer.mediaType,
        diffId: layer.diffId,
      })),
      uuidFrom: digest,
      output,
      signal,
      onProgress: (done) => onProgress?.({ type: "disk", digest, done, total }),
    };
  }

  async #removeChanged(layers: readonly LayerRecord[]): Promise<boolean> {
    let removed = false;
    for (const { digest } of layers) {
      if (await this.#blobs.removeIfChanged(digest)) removed = true;
    }
    return removed;
  }

  async #ensureBlobs(
    record: ImageRecord,
    options: PullOptions & { readonly signal: AbortSignal },
  ): Promise<void> {
    const missing: LayerRecord[] = [];
    for (const layer of record.layers) {
      if (!await this.#blobs.has(layer.digest, layer.size)) missing.push(layer);
    }
    if (missing.length === 0) return;
    const { source, split } = this.#find(record.reference);
    const pinned = source.pin?.(split.rest, record.digest) ?? split.rest;
    await using image = await this.#open(source, pinned, options.signal, options);
    if (image.digest !== record.digest) {
      throw new HutchError(
        "image_not_found",
        `Cannot get layers of ${record.digest} again: ${record.reference} means another image now`,
        { hint: "make the box again from the new image" },
      );
    }
    await fetchLayers({
      reference: record.reference,
      image,
      blobs: this.#blobs,
      platform: this.#options.platform,
      signal: options.signal,
      onProgress: options.onProgress ?? (() => {}),
    }, [...new Map(missing.map((layer) => [layer.digest, layer])).values()]);
  }

  #find(reference: string): { source: ImageSource; split: SchemedReference } {
    const { sources } = this.#options;
    const { scheme, rest } = splitScheme(reference, (name) => sources.has(name));
    const source = sources.get(scheme);
    if (!source) {
      throw new HutchError(
        "invalid_reference",
        `Cannot read reference ${JSON.stringify(reference)}: no plugin brings the source ${scheme}`,
      );
    }
    return { source, split: { scheme, rest: source.canonical(rest) } };
  }

  #open(
    source: ImageSource,
    reference: string,
    signal: AbortSignal,
    options: PullOptions,
  ): Promise<SourceImage> {
    return source.open({
      reference,
      platform: this.#options.platform,
      insecureRegistries: options.insecureRegistries ?? [],
      signal,
    });
  }
}

async function syncPath(path: string): Promise<void> {
  using file = await Deno.open(path);
  await file.sync();
}
