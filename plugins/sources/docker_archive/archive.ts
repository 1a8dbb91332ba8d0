/**
 * The list of images in an archive of `docker save`.
 *
 * @module
 */
import { formatReference, JsonReader, MANIFEST_LIMIT, parseReference } from "../../../mod.ts";
import { type ArchiveFile, OtherKind } from "../archive/file.ts";
import { type TarFile, TarIndex } from "../archive/tar_index.ts";

/** One image as the archive's `manifest.json` has it. */
export interface ListedImage {
  /** Path of its configuration in the archive. */
  readonly config: string;
  /** Paths of its layers in the archive, the lowest first. */
  readonly layers: readonly string[];
  /** Its names as they are written. */
  readonly tags: readonly string[];
  /** Those of them that are names, canonical, such as `docker.io/library/debian:12`. */
  readonly names: readonly string[];
}

const LIST = "manifest.json";
const IMAGE_LIMIT = 10_000;
const TAG_LIMIT = 10_000;
const LAYER_LIMIT = 10_000;

/** An archive's images and files. */
export class DockerArchive {
  /** Open as long as who opened it keeps it so. */
  readonly file: ArchiveFile;
  readonly images: readonly ListedImage[];
  readonly #index: TarIndex;

  private constructor(file: ArchiveFile, index: TarIndex, images: readonly ListedImage[]) {
    this.file = file;
    this.#index = index;
    this.images = images;
  }

  /**
   * Reads where everything is, and the list.
   *
   * @throws {OtherKind} when it is another kind of archive
   * @throws {HutchError} `invalid_image`, `limit_exceeded`, `cancelled`
   */
  static async read(file: ArchiveFile, signal: AbortSignal): Promise<DockerArchive> {
    const index = await TarIndex.read(file, signal);
    const list = index.find(LIST);
    if (list === undefined) {
      throw new OtherKind(
        "image_not_found",
        `Cannot read ${file.name}: there is no file ${LIST} in it`,
        index.has("oci-layout") ? { hint: "it is an OCI layout: name it oci:PATH" } : {},
      );
    }
    if (list.size > MANIFEST_LIMIT) throw file.invalid(`its ${LIST} is too large`);
    const bytes = await file.read(list.offset, list.size);
    return new DockerArchive(file, index, readList(bytes, `${LIST} of ${file.name}`));
  }

  /**
   * Where a file of the archive is.
   *
   * @throws {HutchError} `invalid_image` when there is no such file
   */
  find(path: string): TarFile {
    const found = this.#index.find(normal(path));
    if (found) return found;
    throw this.file.invalid(`its ${JSON.stringify(path.slice(0, 128))} isn't there`);
  }
}

function readList(bytes: Uint8Array, document: string): readonly ListedImage[] {
  const reader = new JsonReader(document);
  let top: unknown;
  try {
    top = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw reader.fail("it isn't JSON");
  }
  return reader.array(top, "its top", IMAGE_LIMIT)
    .map((value, index) => {
      const field = (name: string) => `[${index}].${name}`;
      const entry = reader.object(value, `[${index}]`);
      const tags = reader.strings(entry["RepoTags"], field("RepoTags"), TAG_LIMIT);
      return {
        config: reader.string(entry["Config"], field("Config")),
        layers: reader.strings(entry["Layers"], field("Layers"), LAYER_LIMIT),
        tags,
        names: tags.flatMap(nameOf),
      };
    });
}

/** Whatever an archive calls an image, only a name can be asked for. */
function nameOf(tag: string): readonly string[] {
  try {
    return [formatReference(parseReference(tag))];
  } catch {
    return [];
  }
}

function normal(path: string): string {
  return path.replace(/^(?:\.\/+)+/, "");
}
