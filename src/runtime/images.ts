/**
 * The images of a runtime, for its users.
 *
 * @module
 */
import type { ImageDetails, ImageHistoryEntry } from "../images/manage/details.ts";
import type { ImageLoadOptions, LoadedImage } from "../images/manage/load.ts";
import type {
  ImageListOptions,
  ImageManager,
  ImageSummary,
  SaveReport,
} from "../images/manage/manage.ts";
import type { ImagePushOptions, PushReport } from "../images/manage/push.ts";
import type { ImagePruneOptions, ImagePruneReport } from "../images/manage/prune.ts";
import { ImagePull } from "../images/pull/image_pull.ts";
import type { PullEvent } from "../images/pull/pull.ts";
import type { ImageRecord } from "../images/records.ts";
import type { ImageRemoveOptions, RemovedImage } from "../images/manage/remove.ts";
import type { ImageSaveOptions } from "../images/manage/save.ts";
import type { PullPolicy } from "../images/pull/policy.ts";
import type { ImageStore } from "../images/store.ts";
import type { Credentials } from "../plugin/contract.ts";
import type { LoginOptions, LoginResult, RegistryLogins } from "./logins.ts";

/** Options of {@link Images.pull}. */
export interface ImagePullOptions {
  /** Cancels the pull; a later one goes on with what it has fetched. */
  readonly signal?: AbortSignal;
  /** When to ask the image's source. @default {"always"} */
  readonly policy?: PullPolicy;
  /**
   * Whether to make the base disk as well, which the image's boxes share. Without it the first box's
   * start does. @default {true}
   */
  readonly disk?: boolean;
}

/**
 * The images of a runtime. Those that are here are called by their names, by their digests, or by
 * four or more digits from a digest's beginning.
 */
export interface Images {
  /**
   * The whole spelling of a reference, such as `registry:docker.io/library/debian:12` for
   * `debian:12`; of an image's digest that digest. Makes no request.
   *
   * @throws HutchError `invalid_reference`.
   */
  canonical(reference: string): string;
  /**
   * Asks the image's source, fetches what isn't here, makes the base disk and records the image. The
   * result is awaited for the image, or iterated over for {@link PullEvent}s. A pull ends with its
   * runtime.
   *
   * The result throws HutchErrors where it is awaited or iterated over: such as `image_not_found`,
   * `image_refused`, `registry_unreachable`, `digest_mismatch`, `cancelled`.
   *
   * @example With a line for each layer
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await using pull = runtime.images.pull("builtin:busybox", { signal: AbortSignal.timeout(60_000) });
   * for await (const event of pull) {
   *   if (event.type === "layer.done") console.log(event.digest, event.cached ? "here" : "fetched");
   * }
   * const { reference, digest } = await pull;
   * console.log(reference, digest);
   * ```
   */
  pull(reference: string, options?: ImagePullOptions): ImagePull;
  /** Images by their names; one that has several comes several times. */
  list(options?: ImageListOptions): Promise<readonly ImageSummary[]>;
  /**
   * All that is known of an image: its record, manifest, base disk, and the boxes made from it.
   *
   * @throws HutchError `image_not_found`, `invalid_image`.
   */
  inspect(image: string): Promise<ImageDetails>;
  /**
   * The steps of an image's making, the first one first.
   *
   * @throws HutchError `image_not_found`, `invalid_image`.
   */
  history(image: string): Promise<readonly ImageHistoryEntry[]>;
  /**
   * Gives an image that is here another name, one as registries have them. It resolves here without a
   * request, until a pull asks a registry what it means; plugins may refuse it (query `verify`).
   *
   * @throws HutchError `image_not_found`, `image_refused`, `invalid_reference`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await runtime.images.pull("builtin:busybox");
   * await runtime.images.tag("builtin:busybox", "team/base:1");
   * await using box = await runtime.create({ image: "team/base:1", pull: "never" });
   * ```
   */
  tag(image: string, name: string): Promise<ImageRecord>;
  /**
   * Removes a name, and with its last one the image. Boxes keep theirs: without `force` an image that
   * some were made from is refused, with it only the name goes, and the rest with a `prune` when the
   * boxes are gone. So it is with an image that a pull or a save by another program needs.
   *
   * @throws HutchError `image_in_use`, `image_not_found`.
   */
  remove(image: string, options?: ImageRemoveOptions): Promise<RemovedImage>;
  /**
   * Removes what nothing refers to: images without a name that no box was made from (with `all` those
   * with names, too), blobs and base disks of no image, downloads that nobody went on with for an hour.
   * What other programs work with stays.
   *
   * @throws HutchError `state_corrupt`, `cancelled`.
   * @example How much would come back
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * const { bytes } = await runtime.images.prune({ all: true, dryRun: true });
   * console.log(`${bytes} bytes`);
   * ```
   */
  prune(options?: ImagePruneOptions): Promise<ImagePruneReport>;
  /**
   * Writes images into one file: an OCI image layout in a tar, or what `docker save` writes. Those that
   * are called by a registry's name keep it. The same images give the same bytes.
   *
   * @throws HutchError `image_not_found`, `digest_mismatch`, `no_space`, `cancelled`.
   * @example
   * ```ts
   * import { Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await runtime.images.pull("builtin:busybox");
   * const to = `${await Deno.makeTempDir()}/busybox.tar`;
   * await runtime.images.save(["builtin:busybox"], { to, format: "docker-archive" });
   * ```
   */
  save(images: readonly string[], options: ImageSaveOptions): Promise<SaveReport>;
  /**
   * Takes all images out of a file that `save`, skopeo, or Docker wrote, or out of a stream of its
   * bytes, under the names that the file gives them; plugins may refuse each (query `verify`).
   *
   * @throws HutchError `invalid_image`, `image_not_found`, `image_refused`, `digest_mismatch`,
   * `platform_unsupported`, `no_space`, `cancelled`.
   */
  load(
    from: string | ReadableStream<Uint8Array<ArrayBuffer>>,
    options?: ImageLoadOptions,
  ): Promise<readonly LoadedImage[]>;
  /**
   * Brings an image that is here to a registry: the blobs that it hasn't, then the manifest. Where
   * another repository there has a blob, it is asked to take it from there. Mirrors are left alone.
   *
   * @throws HutchError such as `image_not_found`, `registry_denied`, `registry_unreachable`,
   * `invalid_reference` for what isn't in a registry, `cancelled`.
   * @example
   * ```ts
   * import { HutchError, Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * await runtime.images.pull("builtin:busybox");
   * try {
   *   const to = "registry.test:5000/busybox:1";
   *   console.log((await runtime.images.push("builtin:busybox", { to })).digest);
   * } catch (error) {
   *   console.error(error instanceof HutchError ? error.code : error); // registry_unreachable
   * }
   * ```
   */
  push(image: string, options?: ImagePushOptions): Promise<PushReport>;
  /**
   * Tries credentials at a registry, and keeps them for pulls in this home: in a file that nobody
   * else can read, or with the runtime's `credentialHelper`. Where the registry gives an
   * identity token for a password, that is kept in its place.
   *
   * @throws HutchError such as `registry_denied`, `registry_unreachable`, `invalid_option`,
   * `credentials_unavailable`.
   * @example
   * ```ts
   * import { HutchError, Runtime } from "@hutch/hutch";
   * await using runtime = await Runtime.open();
   * const password = Deno.env.get("REGISTRY_PASSWORD") ?? "";
   * try {
   *   await runtime.images.login("registry.test:5000", { username: "me", password });
   * } catch (error) {
   *   console.error(error instanceof HutchError ? error.message : error);
   * }
   * ```
   */
  login(
    registry: string,
    credentials: Credentials,
    options?: LoginOptions,
  ): Promise<LoginResult>;
  /**
   * Forgets what {@link Images.login} was told of a registry; Docker's own logins stay. Returns
   * whether there was something.
   *
   * @throws HutchError `invalid_option`, `credentials_unavailable`.
   */
  logout(registry: string, options?: LoginOptions): Promise<boolean>;
}

/** How long a runtime's pulls may go on. */
export interface Lifetime {
  /** Aborted when the runtime closes. */
  readonly closing: AbortSignal;
  /** What the runtime waits for when it closes. */
  readonly pending: Set<Promise<unknown>>;
}

/** The images of a runtime made of these parts. */
export function imagesOf(
  { images: store, manager, logins }: {
    readonly images: ImageStore;
    readonly manager: ImageManager;
    readonly logins: RegistryLogins;
  },
  lifetime: Lifetime,
): Images {
  const { closing, pending } = lifetime;
  /** Work that a closing runtime cancels, and waits for. */
  function within<T extends PromiseLike<unknown>>(
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => T,
  ): T {
    const made = work(signal ? AbortSignal.any([closing, signal]) : closing);
    const ended = Promise.resolve(made).then(() => {}, () => {});
    pending.add(ended);
    void ended.then(() => pending.delete(ended));
    return made;
  }
  return {
    canonical: (reference) => store.canonical(reference),
    pull: (reference, options) =>
      within(options?.signal, (signal) => pull(store, reference, { ...options, signal })),
    list: async (options) => await manager.list(options),
    inspect: (image) => manager.inspect(image),
    history: (image) => manager.history(image),
    tag: (image, name) => within(undefined, (signal) => manager.tag(image, name, { signal })),
    remove: (image, options) =>
      within(options?.signal, (signal) => manager.remove(image, { ...options, signal })),
    prune: (options) => within(options?.signal, (signal) => manager.prune({ ...options, signal })),
    save: (images, options) =>
      within(options.signal, (signal) => manager.save(images, { ...options, signal })),
    load: (from, options) =>
      within(options?.signal, (signal) => manager.load(from, { ...options, signal })),
    push: (image, options) =>
      within(options?.signal, (signal) => manager.push(image, { ...options, signal })),
    login: (registry, credentials, options) => logins.login(registry, credentials, options),
    logout: (registry, options) => logins.logout(registry, options),
  };
}

function pull(
  store: ImageStore,
  reference: string,
  { policy = "always", disk = true, signal }: ImagePullOptions,
): ImagePull {
  return new ImagePull(reference, async (own, onProgress) => {
    let told = false;
    const options = {
      signal: own,
      onProgress(event: PullEvent) {
        told ||= event.type === "done";
        onProgress(event);
      },
    };
    const image = await store.resolve(reference, { ...options, policy, disk });
    if (disk) await store.disk(image.digest, options); // of an image that was here already
    if (!told) onProgress({ type: "done", reference: image.reference, digest: image.digest });
    return image;
  }, signal);
}
