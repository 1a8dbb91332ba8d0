/**
 * Managing the images of a home.
 *
 * @module
 */
import { join } from "node:path";
import { HutchError } from "../../errors.ts";
import type { Queries } from "../../plugin/contract.ts";
import { ARCHIVE_FORMATS, archiveEntries, type SavedImage } from "./archive.ts";
import { detailsOf, historyOf, type ImageDetails, type ImageHistoryEntry } from "./details.ts";
import { digestHex } from "../digest.ts";
import { findImage, type FoundImage } from "./find.ts";
import { type ImageLoadOptions, type LoadedImage, loadImages } from "./load.ts";
import { type ImagePruneOptions, type ImagePruneReport, pruneImages } from "./prune.ts";
import { type ImagePushOptions, pushImage, type PushReport } from "./push.ts";
import type { ImageEntry, ImageRecord } from "../records.ts";
import { originOf } from "../records.ts";
import { writeReference } from "../reference_files.ts";
import {
  type ImageHome,
  type ImageRemoveOptions,
  type RemovedImage,
  removeImage,
} from "./remove.ts";
import { archiveBytes, type ImageSaveOptions, writeArchive } from "./save.ts";
import { type OpenedImage, openImage } from "./open.ts";
import type { ImageSource, SourceImage } from "../source.ts";
import type { ImageStore } from "../store.ts";
import { addLayer, type MadeImage, type NewImage } from "./add_layer.ts";
import { checkTarget, taggedRecord } from "./tag.ts";

/** Which images to list. */
export interface ImageListOptions {
  /** Also those without a name: an image that boxes still use, or one that a pull replaced. @default {false} */
  readonly all?: boolean;
  /** Pattern of whole references, with `*` for any text. @default {all} */
  readonly reference?: string;
  /** Labels that the image has; true for any value. @default {none} */
  readonly labels?: Readonly<Record<string, string | true>>;
}

/** An image in a list. */
export interface ImageSummary extends ImageRecord {
  /** Its digest where it has no name. */
  readonly reference: string;
  /** How many boxes were made from it. */
  readonly boxes: number;
}

/** What a save wrote. */
export interface SaveReport {
  /** What was written, with the names that went along. */
  readonly images: readonly { readonly digest: string; readonly references: readonly string[] }[];
  /** Length of the file. */
  readonly bytes: number;
}

/** What an {@link ImageManager} works with. */
export interface ImageManagerOptions extends Omit<ImageHome, "canonical" | "blobs"> {
  readonly store: ImageStore;
  readonly sources: ReadonlyMap<string, ImageSource>;
  readonly verify: (
    image: Queries["verify"]["question"],
    signal: AbortSignal,
  ) => Promise<Queries["verify"]["answer"] | undefined>;
  /** Told of each name that was given. Mustn't throw. */
  readonly tagged: (image: { readonly reference: string; readonly digest: string }) => void;
}

/** What can be done with images that are here; see `Images`, which is for users. */
export class ImageManager {
  readonly #options: ImageManagerOptions;
  readonly #home: ImageHome;

  /** Does nothing yet. */
  constructor(options: ImageManagerOptions) {
    const { store, ledger, paths, removed } = options;
    this.#options = options;
    this.#home = {
      ledger,
      paths,
      removed,
      blobs: store.blobs,
      canonical: (text) => store.canonical(text),
    };
  }

  /** Images by their names; one that has several comes several times. */
  list({ all = false, reference, labels = {} }: ImageListOptions = {}): readonly ImageSummary[] {
    const { ledger } = this.#options;
    const boxes = ledger.boxCounts();
    const nameless = (all ? ledger.entries() : [])
      .filter(({ references }) => references.length === 0)
      .map(({ record }) => ({ ...record, reference: record.digest }));
    const pattern = reference === undefined ? undefined : patternOf(reference);
    return [...ledger.list(), ...nameless]
      .filter((record) => pattern?.test(record.reference) ?? true)
      .filter(({ config }) =>
        Object.entries(labels).every(([key, value]) =>
          value === true ? Object.hasOwn(config.labels, key) : config.labels[key] === value
        )
      )
      .map((record) => ({ ...record, boxes: boxes.get(record.digest) ?? 0 }));
  }

  /** All that is known of an image. */
  async inspect(text: string): Promise<ImageDetails> {
    const found = this.#find(text);
    const disk = join(this.#options.paths.disks, `${digestHex(found.record.digest)}.ext4`);
    return await detailsOf({ ...found, record: calledRecord(found) }, this.#home.blobs, disk);
  }

  /** How an image was made. */
  async history(text: string): Promise<readonly ImageHistoryEntry[]> {
    return await historyOf(this.#find(text).record, this.#home.blobs);
  }

  /** Gives an image that is here another name. */
  async tag(
    source: string,
    target: string,
    { signal = forever() }: { readonly signal?: AbortSignal } = {},
  ): Promise<ImageRecord> {
    const { ledger, paths, store, tagged } = this.#options;
    const record = taggedRecord(store.canonical(target), this.#find(source).record);
    using held = await store.hold(record, signal);
    if (!held) throw gone(source);
    await this.#verify(record, signal);
    await writeReference(paths.blobs, record);
    ledger.name(record);
    tagged(record);
    return record;
  }

  /** Removes the image that a text means: the name, and the image with its last one. */
  async remove(text: string, options: ImageRemoveOptions = {}): Promise<RemovedImage> {
    return await removeImage(this.#home, text, options);
  }

  /** Removes images without names and boxes, and files that no image needs. */
  async prune(options: ImagePruneOptions = {}): Promise<ImagePruneReport> {
    return await pruneImages(this.#home, options);
  }

  /** Writes images into one file. */
  async save(texts: readonly string[], options: ImageSaveOptions): Promise<SaveReport> {
    const { store } = this.#options;
    const { format = "oci", signal = forever() } = options;
    checkSave(texts, format);
    await using holds = new AsyncDisposableStack();
    const images = saved(texts.map((text) => this.#find(text)));
    for (const { record } of images) {
      const held = await store.hold(record, signal);
      if (!held) throw gone(record.reference);
      holds.use(held);
      await store.ensureBlobs(record, { signal });
    }
    const entries = await archiveEntries(images, store.blobs, format);
    const { to } = options;
    const bytes = await writeArchive(archiveBytes(entries, store.blobs, signal), { to, signal });
    return {
      images: images.map(({ record, references }) => ({ digest: record.digest, references })),
      bytes,
    };
  }

  /** Opens what an image is made of. */
  async open(digest: string, signal: AbortSignal): Promise<OpenedImage> {
    return await openImage(this.#options, digest, signal);
  }

  /** Keeps an image here until the result is disposed of; undefined when it isn't here. */
  async hold(digest: string, signal: AbortSignal): Promise<Disposable | undefined> {
    const record = this.#options.ledger.getByDigest(digest);
    return record && await this.#options.store.hold(record, signal);
  }

  /**
   * Takes an image that somebody has opened, without a name: for boxes that are made from it.
   *
   * @param use Does what is to be done before it is recorded; its disk is made by then.
   */
  async adopt(
    image: SourceImage,
    { reference, use, ...options }: ImageLoadOptions & {
      /** How errors and plugins call it. */
      readonly reference: string;
      readonly use: () => Promise<void>;
    },
  ): Promise<ImageRecord> {
    const { store, ledger } = this.#options;
    return await store.adopt(image, reference, {
      ...options,
      keep: async (record) => {
        await use();
        if (!ledger.getByDigest(record.digest)) ledger.pin({ ...record, origin: null });
      },
    });
  }

  /** Throws `invalid_reference` unless an image may be given this name. */
  checkName(name: string): void {
    checkTarget(this.#options.store.canonical(name));
  }

  /** Makes an image of another one and a layer, and gives it a name. */
  async addLayer(
    image: NewImage,
    { reference, signal }: { readonly reference: string; readonly signal: AbortSignal },
  ): Promise<MadeImage> {
    const { ledger, paths, store, tagged } = this.#options;
    const target = store.canonical(reference);
    checkTarget(target);
    return await addLayer(this.#options, image, {
      reference: target,
      signal,
      use: async (made) => {
        const { record } = made;
        await this.#verify({ ...record, origin: target }, signal);
        await writeReference(paths.blobs, record);
        if (!ledger.getByDigest(record.digest)) ledger.pin(record);
        ledger.name(record);
        tagged(record);
        return made;
      },
    });
  }

  /** Brings an image to a registry. */
  async push(text: string, options: ImagePushOptions = {}): Promise<PushReport> {
    const { store, ledger } = this.#options;
    const { signal = forever() } = options;
    const found = this.#find(text);
    const record = calledRecord(found);
    const target = options.to ?? found.named;
    if (target === undefined) {
      throw new HutchError("invalid_option", `Cannot push ${text}: it isn't said where to`, {
        hint: "call the image by its name, or name the place, such as registry.example/team/app:1",
      });
    }
    using held = await store.hold(record, signal);
    if (!held) throw gone(text);
    return await pushImage({ store, ledger }, record, store.canonical(target), {
      ...options,
      signal,
    });
  }

  /** Takes all images out of a file. */
  async load(
    from: string | ReadableStream<Uint8Array<ArrayBuffer>>,
    options: ImageLoadOptions = {},
  ): Promise<readonly LoadedImage[]> {
    const { sources, paths, store, ledger, tagged } = this.#options;
    return await loadImages(
      {
        sources,
        partial: paths.partial,
        take: (image, options) => {
          const keep = async (record: ImageRecord) => {
            const known = ledger.getByDigest(record.digest);
            const origin = known ? originOf(known) : null;
            if (!known) ledger.pin({ ...record, origin });
            for (const reference of image.names) {
              const { origin: _, ...rest } = { ...record, reference };
              const named = { ...rest, ...origin === reference ? {} : { origin } };
              await writeReference(paths.blobs, named);
              ledger.name(named);
              tagged(named);
            }
          };
          return store.take({ ...image, keep }, options);
        },
      },
      from,
      options,
    );
  }

  #find(text: string): FoundImage {
    return findImage(this.#options.ledger, text, this.#home);
  }

  /** Asks plugins whether an image may have this name. */
  async #verify(record: ImageRecord, signal: AbortSignal): Promise<void> {
    const { reference, digest, resolvedDigest } = record;
    const verdict = await this.#options.verify({
      reference,
      digest,
      manifest: await this.#home.blobs.read(digest),
      source: originOf(record),
      resolvedDigest: resolvedDigest ?? digest,
    }, signal);
    if (verdict === undefined || verdict.ok) return;
    throw new HutchError("image_refused", `Cannot use ${reference}: ${verdict.reason}`, {
      hint: "a plugin refuses it; take another image or name, or change what the plugin allows",
    });
  }
}

/** The image's record, under the name it was called by or the first it has. */
function calledRecord({ record, references, named }: FoundImage): ImageEntry["record"] {
  return { ...record, reference: named ?? references[0] ?? record.digest };
}

/** Each image once, with all the names it was asked for by. */
function saved(found: readonly FoundImage[]): readonly SavedImage[] {
  const images = new Map<string, { record: ImageRecord; references: Set<string> }>();
  for (const image of found) {
    const { record, named } = image;
    const one = images.get(record.digest) ?? { record: calledRecord(image), references: new Set() };
    if (named !== undefined) one.references.add(named);
    images.set(record.digest, one);
  }
  return [...images.values()]
    .map(({ record, references }) => ({ record, references: [...references].sort() }));
}

function checkSave(texts: readonly string[], format: string): void {
  if (texts.length === 0) {
    throw new HutchError("invalid_option", "Cannot save images: none is named");
  }
  if (ARCHIVE_FORMATS.some((known) => known === format)) return;
  throw new HutchError("invalid_option", `Cannot save images: format ${format} is unknown`, {
    hint: `take ${ARCHIVE_FORMATS.join(" or ")}`,
  });
}

function patternOf(text: string): RegExp {
  const parts = text.split("*").map((part) => RegExp.escape(part));
  return new RegExp(`^${parts.join(".*")}$`, "s");
}

function gone(text: string): HutchError {
  return new HutchError("image_not_found", `Cannot find image ${text}: it was removed meanwhile`);
}

function forever(): AbortSignal {
  return new AbortController().signal;
}
