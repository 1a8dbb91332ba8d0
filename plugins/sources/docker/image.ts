/**
 * An engine's image, exported when something of it is wanted.
 *
 * @module
 */
import { HutchError, type Platform, type SourceImage } from "../../../mod.ts";
import { ArchiveFile } from "../archive/file.ts";
import { DockerArchive, type ListedImage } from "../docker_archive/archive.ts";
import { imageOf } from "../docker_archive/image.ts";
import type { Engine } from "./engine.ts";

/** Which image. */
export interface EngineImageOptions {
  /** As it was asked for. */
  readonly name: string;
  /** The engine's id of it, `sha256:…`. */
  readonly id: string;
  readonly platform: Platform;
}

/** One image, its engine spoken to until disposed. */
export class EngineImage implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #options: EngineImageOptions;
  readonly #closed = new AbortController();
  #export: Promise<SourceImage> | undefined;

  constructor(engine: Engine, options: EngineImageOptions) {
    this.#engine = engine;
    this.#options = options;
  }

  /**
   * The exported image: of several who ask the first has it made.
   *
   * @throws {HutchError} what exporting and reading an archive throw
   */
  async exported(signal: AbortSignal): Promise<SourceImage> {
    for (;;) {
      const making = this.#export ??= this.#make(AbortSignal.any([signal, this.#closed.signal]));
      try {
        return await making;
      } catch (error) {
        if (this.#export === making) this.#export = undefined;
        const othersEnd = error instanceof HutchError && error.code === "cancelled" &&
          !signal.aborted && !this.#closed.signal.aborted;
        if (!othersEnd) throw error;
      }
    }
  }

  /** As {@link SourceImage.blob}. */
  async blob(
    digest: string,
    options: { readonly offset: number; readonly signal: AbortSignal },
  ): ReturnType<SourceImage["blob"]> {
    const image = await this.exported(options.signal);
    return await image.blob(digest, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    const image = await this.#export?.catch(() => undefined);
    await image?.[Symbol.asyncDispose]();
    this.#engine[Symbol.dispose]();
  }

  async #make(signal: AbortSignal): Promise<SourceImage> {
    const { name, id, platform } = this.#options;
    const file = await this.#engine.export(
      { id, name },
      signal,
      (pieces) => ArchiveFile.spool(pieces, { name: `the export of docker:${name}`, signal }),
    );
    try {
      const archive = await DockerArchive.read(file, signal);
      return await imageOf(archive, this.#choose(archive.images), { name, platform, signal });
    } catch (error) {
      file[Symbol.dispose]();
      throw error;
    }
  }

  /** An engine that keeps whole indexes may export more than was asked for. */
  #choose(images: readonly ListedImage[]): ListedImage {
    const { name, id } = this.#options;
    const [only] = images;
    const chosen = images.length === 1
      ? only
      : images.find(({ config }) => config.includes(id.slice("sha256:".length)));
    if (chosen) return chosen;
    throw new HutchError(
      "invalid_image",
      `Cannot read docker:${name}: its export has ${images.length} images`,
    );
  }
}
