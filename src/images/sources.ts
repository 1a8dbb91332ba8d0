/**
 * Finding and asking the sources of images.
 *
 * @module
 */
import { HutchError } from "../errors.ts";
import type { Credentials } from "../plugin/contract.ts";
import type { Platform } from "./platform.ts";
import { joinScheme, type SchemedReference, splitScheme } from "./reference.ts";
import type { RegistrySettings } from "./registry/registries.ts";
import type {
  ImageSource,
  KnownImage,
  PushAnswer,
  PushRequest,
  SourceImage,
  SourceRequest,
} from "./source.ts";
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
      ...this.#asked(reference, signal),
      known,
      platform: this.#options.platform,
    });
    return await orCancelled(opening, `open ${reference}`, {
      signal,
      graceMs: OPEN_GRACE_MS, // it may have processes and files to take away
      late: (image) => void Promise.resolve(image[Symbol.asyncDispose]()).catch(() => {}),
    });
  }

  /**
   * Brings an image somewhere.
   *
   * @param reference Where to: with its scheme, if it isn't the usual one.
   * @throws {HutchError} `invalid_reference` when nothing can be brought there, `cancelled`, and what
   * the source throws.
   */
  async push(
    reference: string,
    image: Pick<PushRequest, "manifest" | "mediaType" | "blobs" | "onProgress">,
    signal: AbortSignal,
  ): Promise<PushAnswer> {
    const { source, split } = this.find(reference);
    if (!source.push) {
      throw new HutchError(
        "invalid_reference",
        `Cannot push to ${joinScheme(split)}: nothing can be written there`,
        { hint: "give the name of a place in a registry, such as registry.example/team/app:1" },
      );
    }
    const pushing = source.push({ ...this.#asked(split.rest, signal), ...image });
    return await orCancelled(pushing, `push ${split.rest}`, { signal, graceMs: OPEN_GRACE_MS });
  }

  #asked(
    reference: string,
    signal: AbortSignal,
  ): Pick<SourceRequest, "reference" | "registries" | "credentials" | "signal"> {
    return {
      reference,
      registries: this.#options.registries,
      credentials: async (registry) => {
        const asking = this.#options.credentials(registry, signal);
        return asking && await orCancelled(asking, `open ${reference}`, { signal });
      },
      signal,
    };
  }
}
