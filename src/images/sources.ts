/**
 * Finding and asking the sources of images.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { Credentials } from "../plugin/contract.ts";
import type { Platform } from "./platform.ts";
import { type SchemedReference, splitScheme } from "./reference.ts";
import type { RegistrySettings } from "./registry/registries.ts";
import type { ImageSource, KnownImage, SourceImage } from "./source.ts";
import { orCancelled } from "./wait.ts";

/** What {@link Sources} are made of. */
export interface SourcesOptions {
  /** By their schemes. */
  readonly sources: ReadonlyMap<string, ImageSource>;
  readonly platform: Platform;
  readonly registries: ReadonlyMap<string, RegistrySettings>;
  readonly credentials: (
    registry: string,
    signal: AbortSignal,
  ) => Promise<Credentials | undefined> | undefined;
}

/** Time that a source gets to tidy up when a pull is cancelled while it opens an image, in `ms`. */
const OPEN_GRACE_MS = 5_000;

/** The sources of images, asked for one platform. */
export class Sources {
  readonly #options: SourcesOptions;

  /** Asks nobody yet. */
  constructor(options: SourcesOptions) {
    this.#options = options;
  }

  /**
   * The source that a reference names, and what it is asked for.
   *
   * @throws {HutchError} `invalid_reference`
   */
  find(reference: string): { source: ImageSource; split: SchemedReference } {
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

  /**
   * Opens an image.
   *
   * @throws {HutchError} `cancelled`, and what the source throws.
   */
  async open(
    { source, reference, known }: {
      readonly source: ImageSource;
      /** Without its scheme. */
      readonly reference: string;
      readonly known?: KnownImage | undefined;
    },
    signal: AbortSignal,
  ): Promise<SourceImage> {
    const opening = source.open({
      reference,
      known,
      platform: this.#options.platform,
      registries: this.#options.registries,
      credentials: async (registry) => {
        const asking = this.#options.credentials(registry, signal);
        return asking && await orCancelled(asking, `open ${reference}`, { signal });
      },
      signal,
    });
    return await orCancelled(opening, `open ${reference}`, {
      signal,
      graceMs: OPEN_GRACE_MS, // it may have processes and files to take away
      late: (image) => void Promise.resolve(image[Symbol.asyncDispose]()).catch(() => {}),
    });
  }
}
