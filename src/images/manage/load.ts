/**
 * Taking images out of files that `hutch image save` and other tools wrote.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { asNoSpace, removeIfThere } from "../../atomic_file.ts";
import { HutchError } from "../../errors.ts";
import type { PullListener } from "../pull/pull.ts";
import type { ImageRecord } from "../records.ts";
import { DEFAULT_SCHEME, joinScheme, parseReference } from "../reference.ts";
import type { ArchivedImage, ImageSource } from "../source.ts";
import { cancelled, lockFile } from "../wait.ts";

/** Options of `Images.load`. */
export interface ImageLoadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: PullListener;
}

/** An image that was loaded. */
export interface LoadedImage {
  readonly digest: string;
  /** What means it now; none when the file gave it no name, or none that can be one. */
  readonly references: readonly string[];
}

/** An image of a file, and what it is to be called here. */
export interface ImageInFile {
  readonly scheme: string;
  /** What its source opens. */
  readonly reference: string;
  /** Canonical, with scheme. */
  readonly names: readonly string[];
}

/** What loading works with. */
export interface LoadContext {
  readonly sources: ReadonlyMap<string, ImageSource>;
  /** Folder for what comes as a stream; unfinished downloads are there too. */
  readonly partial: string;
  /** Fetches an image and records it. */
  readonly take: (image: ImageInFile, options: ImageLoadOptions) => Promise<ImageRecord>;
}

/** Most images of one file. */
const IMAGES_LIMIT = 10_000;
/** Most names of one image. */
const NAMES_LIMIT = 1_000;

/**
 * Loads all images of a file, one after the other; each is recorded when it is whole.
 *
 * @throws {HutchError} `invalid_image` when no source can read the file, `image_not_found`, and what
 * pulling throws.
 */
export async function loadImages(
  context: LoadContext,
  from: string | ReadableStream<Uint8Array<ArrayBuffer>>,
  options: ImageLoadOptions,
): Promise<readonly LoadedImage[]> {
  if (typeof from === "string") return await loadFile(context, resolve(from), options);
  const { signal = new AbortController().signal } = options;
  await Deno.mkdir(context.partial, { recursive: true, mode: 0o700 });
  const path = join(context.partial, `load-${crypto.randomUUID()}`);
  using _lock = await lockFile(`${path}.lock`, signal); // whoever clears away leaves it alone
  try {
    await spool(from, path, signal);
    return await loadFile(context, path, options);
  } catch (error) {
    throw withoutPath(asNoSpace(error, path), path);
  } finally {
    await removeIfThere(path);
  }
}

async function loadFile(
  context: LoadContext,
  path: string,
  options: ImageLoadOptions,
): Promise<readonly LoadedImage[]> {
  const { signal = new AbortController().signal } = options;
  await requireFile(path);
  const { scheme, images } = await contentsOf(context.sources, path, signal);
  if (images.length > IMAGES_LIMIT) {
    throw new HutchError("limit_exceeded", `Cannot load ${path}: it has ${images.length} images`, {
      hint: `at most ${IMAGES_LIMIT} are loaded at once`,
    });
  }
  const loaded = new Map<string, Set<string>>();
  for (const { reference, names } of images) {
    const usable = usableNames(names);
    const { digest } = await context.take({ scheme, reference, names: usable }, options);
    const known = loaded.get(digest) ?? new Set();
    for (const name of usable) known.add(name);
    loaded.set(digest, known);
  }
  return [...loaded].map(([digest, references]) => ({ digest, references: [...references] }));
}

/** What a file holds, by the first source that knows its kind. */
async function contentsOf(
  sources: LoadContext["sources"],
  path: string,
  signal: AbortSignal,
): Promise<{ readonly scheme: string; readonly images: readonly ArchivedImage[] }> {
  for (const [scheme, source] of sources) {
    const images = await source.contents?.(path, signal);
    if (images) return { scheme, images };
  }
  throw new HutchError(
    "invalid_image",
    `Cannot load ${path}: it is neither an OCI image layout nor what docker save writes`,
  );
}

/** Whole names of registries' images; what can't be one is left out. */
function usableNames(names: readonly string[]): readonly string[] {
  const usable = new Set<string>();
  for (const name of names.slice(0, NAMES_LIMIT)) {
    try {
      const { registry, repository, tag, digest } = parseReference(name);
      if (tag === undefined || digest !== undefined) continue;
      usable.add(
        joinScheme({ scheme: DEFAULT_SCHEME, rest: `${registry}/${repository}:${tag}` }),
      );
    } catch {
      // A name within the file alone.
    }
  }
  return [...usable];
}

/** A spooled file's name tells nobody anything, but where no space is left. */
function withoutPath(error: unknown, path: string): unknown {
  if (!(error instanceof HutchError) || error.code === "no_space") return error;
  const { code, hint, message } = error;
  return new HutchError(code, message.replaceAll(path, "what came in"), {
    cause: error,
    ...hint === undefined ? {} : { hint },
  });
}

async function requireFile(path: string): Promise<void> {
  let problem = "it is not a file";
  try {
    const { isFile, size } = await Deno.stat(path);
    if (isFile && size > 0) return;
    if (isFile) throw new HutchError("invalid_image", `Cannot load ${path}: it is empty`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    problem = "it isn't there";
  }
  throw new HutchError("image_not_found", `Cannot load ${path}: ${problem}`);
}

async function spool(
  from: ReadableStream<Uint8Array<ArrayBuffer>>,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const file = await Deno.open(path, { write: true, createNew: true, mode: 0o600 });
  try {
    await from.pipeTo(file.writable, { signal }); // which closes the file, however it ends
  } catch (error) {
    throw signal.aborted ? cancelled("load images", signal) : error;
  }
}
