/**
 * Images from archives as `docker save` and `podman save` write them: `docker-archive:PATH`,
 * `docker-archive:PATH:NAME[:TAG]`, `docker-archive:PATH:@INDEX`.
 *
 * @module
 */
import {
  type ArchivedImage,
  definePlugin,
  errorText,
  formatReference,
  HutchError,
  type ImageReference,
  type ImageSource,
  parseReference,
  type Plugin,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import { ArchiveFile, OtherKind } from "./archive/file.ts";
import { cutReference, listOf } from "./archive/reference.ts";
import { DockerArchive, type ListedImage } from "./docker_archive/archive.ts";
import { imageOf } from "./docker_archive/image.ts";

/** Which image of which archive. */
export interface DockerArchiveReference {
  /** Absolute. */
  readonly path: string;
  /** Canonical, such as `docker.io/library/debian:12`. */
  readonly name?: string;
  /** Place in the archive's list, from 0. */
  readonly index?: number;
}

/**
 * A plugin with the source `docker-archive`. Such an archive has no manifest: one is made of its
 * configuration, whose digest stays what Docker calls the image's id, and of its layers as they are;
 * the same archive always gives the same digest.
 *
 * @example
 * ```ts
 * import { dockerArchiveSource } from "./docker_archive.ts";
 * const plugin = dockerArchiveSource();
 * ```
 */
export function dockerArchiveSource(): Plugin {
  const source: ImageSource = {
    canonical: (text) => formatDockerArchiveReference(parseDockerArchiveReference(text)),
    open,
    contents,
  };
  return definePlugin({ name: "docker-archive", sources: { "docker-archive": source } });
}

/**
 * Takes `PATH[:NAME|:@INDEX]` apart. The first colon ends the path, as it does for skopeo.
 *
 * @throws {HutchError} `invalid_reference`
 */
export function parseDockerArchiveReference(text: string): DockerArchiveReference {
  const { path, rest, fail } = cutReference(text);
  if (rest === undefined) return { path };
  if (rest.startsWith("@")) {
    if (!/^@(?:0|[1-9]\d{0,4})$/.test(rest)) throw fail("what follows @ isn't a whole number");
    return { path, index: Number(rest.slice(1)) };
  }
  let name: ImageReference;
  try {
    name = parseReference(rest);
  } catch (error) {
    throw fail(errorText(error));
  }
  if (name.digest !== undefined) throw fail("such archives have no digests");
  return { path, name: formatReference(name) };
}

/** The canonical spelling, with an absolute path. */
export function formatDockerArchiveReference(reference: DockerArchiveReference): string {
  const { path, name, index } = reference;
  if (index !== undefined) return `${path}:@${index}`;
  return name === undefined ? path : `${path}:${name}`;
}

async function open(request: SourceRequest): Promise<SourceImage> {
  const reference = parseDockerArchiveReference(request.reference);
  const { platform, signal } = request;
  const file = await ArchiveFile.open(reference.path, signal);
  try {
    const archive = await DockerArchive.read(file, signal);
    const name = formatDockerArchiveReference(reference);
    const listed = choose(archive.images, reference, name);
    return await imageOf(archive, listed, { name, platform, signal });
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

function choose(
  images: readonly ListedImage[],
  { name, index }: DockerArchiveReference,
  reference: string,
): ListedImage {
  const fail = (problem: string, hint: string) =>
    new HutchError("image_not_found", `Cannot find ${reference}: ${problem}`, { hint });
  const tags = images.flatMap(({ tags }) => tags);
  const offered = tags.length > 0 ? `it has ${listOf(tags)}` : "its images have no names";
  if (name !== undefined) {
    const named = images.find(({ names }) => names.includes(name));
    if (named) return named;
    throw fail("the archive has no image of this name", offered);
  }
  const [only] = images;
  if (only === undefined) throw fail("the archive has no images", "save one into it");
  if (index !== undefined) {
    const chosen = images[index];
    if (chosen) return chosen;
    throw fail(`the archive has ${images.length} images`, "the first one is @0");
  }
  if (images.length === 1) return only;
  throw fail(
    `the archive has ${images.length} images`,
    `add a name, or @ and the place from @0 on: ${offered}`,
  );
}

async function contents(
  path: string,
  signal: AbortSignal,
): Promise<readonly ArchivedImage[] | undefined> {
  try {
    using file = await ArchiveFile.open(path, signal);
    const { images } = await DockerArchive.read(file, signal);
    return images.map(({ tags }, index) => {
      const reference = formatDockerArchiveReference({ path, index });
      parseDockerArchiveReference(reference); // the file may have a path that none can have
      return { reference, names: tags };
    });
  } catch (error) {
    if (error instanceof OtherKind) return undefined;
    throw error;
  }
}
