/**
 * The images of a home: found, pulled, and made into base disks.
 *
 * @module
 */
import { asNoSpace } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import type { Queries } from "../plugin/contract.ts";
import { type BaseDisk, BaseDisks } from "./base_disk/base_disks.ts";
import { BlobStore } from "./blobs/blob_store.ts";
import type { BlobUse } from "./blobs/blob_use.ts";
import type { ImageInFile } from "./manage/load.ts";
import { isDiskImage } from "./manifest.ts";
import { checkPackedDisk } from "./base_disk/packed_disk.ts";
import { platformDistance } from "./platform.ts";
import { fetchAgain } from "./pull/fetch_again.ts";
import { pullImage } from "./pull/pull.ts";
import { digestCalled } from "./manage/find.ts";
import type { ImageRecord } from "./records.ts";
import { referencesFolder, writeReference } from "./reference_files.ts";
import { referredBlobs } from "./blobs/referred_blobs.ts";
import { joinScheme } from "./reference.ts";
import type { ImageSource, KnownImage, PushAnswer, PushRequest, SourceImage } from "./source.ts";
import { Sources } from "./sources.ts";
import type {
  ImageStoreOptions,
  PullOptions,
  ResolveOptions,
  StorePullOptions,
} from "./store_options.ts";
import { sweepFolder } from "./blobs/sweep.ts";
import { orCancelled } from "./wait.ts";

/** An image that is to be fetched. */
type Wanted =
  & {
    /** Where it comes from, with its scheme. */
    readonly from: string;
    /** What it is to be called. */
    readonly names: readonly string[];
  }
  & (
    | { readonly opened: SourceImage }
    | {
      readonly source: ImageSource;
      /** What the source opens. */
      readonly rest: string;
      readonly known?: KnownImage | undefined;
    }
  );

/** Layers fetched at once, and how many there may be. */
const PARALLEL = 4;
const PARALLEL_LIMIT = 32;

const PARTIAL_LIFE_MS = 7 * 24 * 3600 * 1000;
/** Longer than writing a small file takes. */
const WRITING_MS = 3600 * 1000;

/** Finds, pulls and unpacks images; any number of programs may use one home at once. */
export class ImageStore {
  readonly #options: ImageStoreOptions;
  readonly #blobs: BlobStore;
  readonly #sources: Sources;
  readonly #disks: BaseDisks;
  readonly #parallel: number;

  constructor(options: ImageStoreOptions) {
    this.#options = options;
    const { paths, retryDelayMs, parallelDownloads = PARALLEL, build, ask } = options;
    this.#parallel = checkedParallel(parallelDownloads);
    this.#blobs = new BlobStore({
      blobs: paths.blobs,
      partial: paths.partial,
      ...(retryDelayMs === undefined ? {} : { retryDelayMs }),
    });
    this.#sources = new Sources({
      sources: options.sources,
      platform: options.platform,
      registries: options.registries ?? new Map(),
      credentials: (registry, signal) => ask?.credentials(registry, signal),
    });
    this.#disks = new BaseDisks({
      disks: paths.disks,
      blobs: this.#blobs,
      build,
      ensureBlobs: (record, options) => this.ensureBlobs(record, options),
    });
  }

  /** The blobs of the images. */
  get blobs(): BlobStore {
    return this.#blobs;
  }

  /**
   * The canonical spelling of a reference, with its scheme; of an image's digest that digest.
   *
   * @throws {HutchError} `invalid_reference`
   */
  canonical(reference: string): string {
    const called = digestCalled(reference);
    if (called !== undefined) return called;
    const { split } = this.#sources.find(reference);
    return joinScheme(split);
  }

  /**
   * Removes what programs that died left: locks, unfinished disks, and downloads that nobody went
   * on with for a week. What is in use stays.
   */
  async sweep(): Promise<void> {
    await this.#blobs.sweep(PARTIAL_LIFE_MS);
    await this.#disks.sweep();
    await sweepFolder(
      referencesFolder(this.#options.paths.blobs),
      WRITING_MS,
      (name) => name.endsWith(".new") ? name : undefined,
    );
  }

  /** All images, by their references. */
  async list(): Promise<readonly ImageRecord[]> {
    return await this.#options.records.list();
  }

  /**
   * The image that a reference means, or that has this digest; pulled when the policy says so. An
   * image that is here makes no request with policy `missing`.
   *
   * @throws {HutchError} `image_not_found` with policy `never` or for a digest, and what {@link pull}
   * throws.
   */
  async resolve(reference: string, options: ResolveOptions = {}): Promise<ImageRecord> {
    const { policy = "missing", ...pulling } = options;
    const canonical = this.canonical(reference);
    const { records, platform } = this.#options;
    const byDigest = digestCalled(reference) !== undefined;
    const found = await (byDigest ? records.getByDigest(canonical) : records.get(canonical));
    const fits = found && platformDistance(platform, found.platform) !== undefined;
    const known = fits ? found : undefined;
    if (known && (byDigest || policy === "missing" || policy === "never")) return known;
    if (byDigest || policy === "never") {
      throw new HutchError("image_not_found", `Cannot find ${canonical}: it isn't here`, {
        hint: byDigest ? "pull it by its name" : "pull it first, or allow pulling",
      });
    }
    try {
      return await this.pull(reference, pulling);
    } catch (error) {
      if (known && policy === "newer" && leavesUsable(error, known)) return known;
      throw error;
    }
  }

  /**
   * Keeps an image here until the result is disposed of: its record, and what it is made of.
   *
   * @returns Undefined when it has been removed meanwhile.
   * @throws {HutchError} `cancelled`, `home_unusable`, `no_space`
   */
  async hold({ digest }: ImageRecord, signal: AbortSignal): Promise<Disposable | undefined> {
    const use = await this.#blobs.use(signal);
    try {
      if (await this.#options.records.getByDigest(digest)) {
        use.name([digest]);
        return use;
      }
    } catch (error) {
      use[Symbol.dispose]();
      throw asNoSpace(error, this.#options.paths.blobs);
    }
    use[Symbol.dispose]();
    return undefined;
  }

  /**
   * Asks the source, fetches what isn't here, and records the image. Plugins may refuse it by
   * the query `verify`: asked here alone, so an image that is here stays usable without a request
   * and whatever a policy says meanwhile; pulling it again asks again.
   *
   * @throws {HutchError} `invalid_reference`, `image_not_found`, `image_refused`, `registry_…`,
   * `invalid_image`, `digest_mismatch`, `platform_unsupported`, `no_space`, `cancelled`
   */
  async pull(reference: string, options: StorePullOptions = {}): Promise<ImageRecord> {
    const from = performance.now();
    const { on, paths, records } = this.#options;
    refuseDigest(reference);
    const { source, split } = this.#sources.find(reference);
    const canonical = joinScheme(split);
    on?.pulling(canonical);
    const known = await this.#known(canonical);
    const wanted = { source, rest: split.rest, from: canonical, names: [canonical], known };
    const record = await this.#fetch(wanted, options, async (record) => {
      await writeReference(paths.blobs, record);
      await records.put(record);
    });
    on?.pulled(record, Math.round(performance.now() - from));
    return record;
  }

  /**
   * Takes an image out of a file, as {@link pull} takes one from its source.
   *
   * @throws {HutchError} what {@link pull} throws.
   */
  async take(
    { scheme, reference, names, keep }: ImageInFile & {
      /** Records the image; nobody removes what it is made of meanwhile. */
      readonly keep: (record: ImageRecord) => Promise<void>;
    },
    options: PullOptions = {},
  ): Promise<ImageRecord> {
    const from = joinScheme({ scheme, rest: reference });
    const { source } = this.#sources.find(from);
    return await this.#fetch({ source, rest: reference, from, names }, options, keep);
  }

  /**
   * Takes an image that is open already; its blobs are asked for one after the other, each once: the
   * configuration, then the layers. Its disk is made before `keep` records it.
   *
   * @throws {HutchError} what {@link pull} throws.
   */
  async adopt(
    image: SourceImage,
    from: string,
    { keep, ...options }: PullOptions & {
      readonly keep: (record: ImageRecord) => Promise<void>;
    },
  ): Promise<ImageRecord> {
    return await this.#fetch({ opened: image, from, names: [] }, { ...options, disk: true }, keep);
  }

  async #fetch(
    { from, names, ...wanted }: Wanted,
    options: StorePullOptions,
    keep: (record: ImageRecord) => Promise<void>,
  ): Promise<ImageRecord> {
    const signal = options.signal ?? new AbortController().signal;
    const onProgress = options.onProgress ?? (() => {});
    const [reference = from] = names;
    onProgress({ type: "resolving", reference });
    await this.sweep().catch(() => {}); // what keeps us from tidying up is told when it matters
    using use = await this.#blobs.use(signal);
    await using image = "opened" in wanted
      ? wanted.opened
      : await this.#sources.open({ ...wanted, reference: wanted.rest }, signal);
    const { resolvedDigest } = image;
    const pulled = await pullImage({
      reference,
      image,
      blobs: this.#blobs,
      platform: this.#options.platform,
      parallel: "opened" in wanted ? 1 : this.#parallel,
      signal,
      onProgress,
      verify: async (question) =>
        await this.#verify([reference, ...names.slice(1)], {
          ...question,
          source: from,
          resolvedDigest: resolvedDigest ?? question.digest,
        }, signal),
      name: (digests) => use.name(digests),
      use: async (record) => {
        if (isDiskImage(record)) await this.#disks.check(record);
        else if (options.disk) await this.#disks.make(record, { ...options, signal });
      },
      discard: (digests) => this.#discard(digests, use),
    });
    const record = { ...pulled, ...resolvedDigest === undefined ? {} : { resolvedDigest } };
    await keep(record);
    onProgress({ type: "done", reference, digest: record.digest });
    return record;
  }

  /**
   * Brings what is here to where a reference says.
   *
   * @throws {HutchError} what {@link Sources.push} throws.
   */
  async push(
    reference: string,
    image: Pick<PushRequest, "manifest" | "mediaType" | "blobs" | "onProgress">,
    signal: AbortSignal,
  ): Promise<PushAnswer> {
    return await this.#sources.push(reference, image, signal);
  }

  /** The first refusal of what an image is to be called. */
  async #verify(
    names: readonly string[],
    question: Queries["verify"]["question"],
    signal: AbortSignal,
  ): Promise<Queries["verify"]["answer"] | undefined> {
    for (const reference of names) {
      const asking = this.#options.ask?.verify({ ...question, reference }, signal);
      const verdict = asking && await orCancelled(asking, `pull ${reference}`, { signal });
      if (verdict?.ok === false) return verdict;
    }
    return undefined;
  }

  /** The path of {@link disk}. */
  async baseDisk(digest: string, options: PullOptions = {}): Promise<string> {
    return (await this.disk(digest, options)).path;
  }

  /**
   * An image's base disk, made when it isn't there; of several programs one makes it. Layers that
   * went missing are fetched again. Of an image that is a disk it is the layer's own file.
   *
   * @param digest Manifest digest of an image that was pulled.
   * @throws {HutchError} `image_not_found`, what the builder throws, `no_space`, `cancelled`
   */
  async disk(digest: string, options: PullOptions = {}): Promise<BaseDisk> {
    const made = await this.#disks.made(digest);
    if (made) return made;
    const record = await this.#options.records.getByDigest(digest);
    if (!record) {
      throw new HutchError("image_not_found", `Cannot make a disk of ${digest}: it isn't here`, {
        hint: "pull the image",
      });
    }
    const signal = options.signal ?? new AbortController().signal;
    return await this.#disks.disk(record, { ...options, signal });
  }

  /** How large a box's disk must be for an image that is a disk, in bytes; 0 for other images. */
  async diskBytes(record: ImageRecord): Promise<number> {
    if (!isDiskImage(record)) return 0;
    return await checkPackedDisk((await this.disk(record.digest)).path);
  }

  /** Blobs that others count on stay. */
  async #discard(digests: readonly string[], use: BlobUse): Promise<void> {
    const counted = use.becomeAlone() ? await this.#countedOn(use) : undefined;
    for (const digest of digests) {
      await this.#blobs.discard(digest, counted?.has(digest) === false ? use : undefined);
    }
  }

  async #countedOn(alone: BlobUse): Promise<ReadonlySet<string>> {
    const referred = await referredBlobs(await this.#options.records.all(), this.#blobs);
    return referred.union(await alone.namedByOthers());
  }

  /**
   * Fetches layers that went missing again.
   *
   * @throws {HutchError} what {@link disk} throws.
   */
  async ensureBlobs(
    record: ImageRecord,
    options: PullOptions & { readonly signal: AbortSignal },
  ): Promise<void> {
    const { platform } = this.#options;
    const { signal, onProgress } = options;
    const work = { blobs: this.#blobs, sources: this.#sources, parallel: this.#parallel, platform };
    await fetchAgain(record, { ...work, signal, ...onProgress ? { onProgress } : {} });
  }

  /** What a reference meant at its last pull, as far as that is here. */
  async #known(reference: string): Promise<KnownImage | undefined> {
    const { records, platform } = this.#options;
    const record = await records.get(reference);
    if (record?.resolvedDigest === undefined) return undefined;
    if (platformDistance(platform, record.platform) === undefined) return undefined;
    const { digest, resolvedDigest } = record;
    try {
      return { digest, resolvedDigest, manifest: await this.#blobs.read(digest) };
    } catch {
      return undefined; // gone or changed: it is fetched again
    }
  }
}

function checkedParallel(layers: number): number {
  if (Number.isInteger(layers) && layers >= 1 && layers <= PARALLEL_LIMIT) return layers;
  throw new HutchError(
    "invalid_option",
    `Cannot fetch ${layers} layers at once: it is not a whole number from 1 to ${PARALLEL_LIMIT}`,
    { hint: "leave parallelDownloads out for the usual number" },
  );
}

/** Whether an image that is here is as good as it was, though its source gave none. */
function leavesUsable(error: unknown, { origin }: ImageRecord): boolean {
  if (!(error instanceof HutchError)) return false;
  // Nobody else may know a name that was given here.
  const own = origin !== undefined &&
    (error.code === "image_not_found" || error.code === "registry_denied");
  return own || error.code === "registry_unreachable";
}

function refuseDigest(reference: string): void {
  if (digestCalled(reference) === undefined) return;
  throw new HutchError(
    "invalid_reference",
    `Cannot pull ${reference}: it is an image's digest, not its name`,
    { hint: "give the name too, as in debian@sha256:…" },
  );
}
