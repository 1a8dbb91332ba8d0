/**
 * Images from OCI image layouts, folders or tar archives as skopeo, umoci and buildx write them:
 * `oci:PATH`, `oci:PATH:TAG`, `oci:PATH@sha256:…`.
 *
 * @module
 */
import {
  type ArchivedImage,
  chooseManifest,
  definePlugin,
  type Descriptor,
  digestOf,
  HutchError,
  type ImageSource,
  isDigest,
  type Platform,
  type Plugin,
  type SourceImage,
  type SourceRequest,
} from "../../mod.ts";
import { cutReference, listOf } from "./archive/reference.ts";
import { Layout, type LayoutDocument } from "./oci/layout.ts";

/** Which image of which layout. */
export interface OciReference {
  /** Absolute. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: string;
}

const REF_NAME = "org.opencontainers.image.ref.name";
/** Where containerd puts the whole name, having the tag alone in the other one. */
const CONTAINERD_NAME = "io.containerd.image.name";
/** The grammar that the image specification gives for names in a layout. */
const TAG = /^[A-Za-z0-9]+(?:(?:--|[-._:@+/])[A-Za-z0-9]+)*$/;
const TAG_LIMIT = 255;
const INDEX_DEPTH = 3;

/**
 * A plugin with the source `oci`.
 *
 * @example
 * ```ts
 * import { ociSource } from "./oci.ts";
 * const plugin = ociSource();
 * ```
 */
export function ociSource(): Plugin {
  const source: ImageSource = {
    canonical: (reference) => formatOciReference(parseOciReference(reference)),
    pin: (reference, digest) =>
      formatOciReference({ path: parseOciReference(reference).path, digest }),
    open,
    contents,
  };
  return definePlugin({ name: "oci", sources: { oci: source } });
}

/**
 * Takes `PATH[:TAG]` or `PATH@DIGEST` apart. The first colon ends the path, as it does for skopeo.
 *
 * @throws {HutchError} `invalid_reference`
 */
export function parseOciReference(text: string): OciReference {
  const at = text.lastIndexOf("@");
  const digest = at >= 0 && isDigest(text.slice(at + 1)) ? text.slice(at + 1) : undefined;
  const { path, rest: tag, fail } = cutReference(digest ? text.slice(0, at) : text, text);
  if (digest !== undefined) {
    if (tag !== undefined) throw fail("it has both a tag and a digest");
    return { path, digest };
  }
  if (tag === undefined) return { path };
  if (!isTag(tag)) throw fail("what follows its colon can't be a tag");
  return { path, tag };
}

/** The canonical spelling, with an absolute path. */
export function formatOciReference({ path, tag, digest }: OciReference): string {
  if (digest !== undefined) return `${path}@${digest}`;
  return tag === undefined ? path : `${path}:${tag}`;
}

async function open(request: SourceRequest): Promise<SourceImage> {
  const reference = parseOciReference(request.reference);
  const { platform, signal } = request;
  const layout = await Layout.open(reference.path, signal);
  try {
    const { bytes } = await find(layout, reference, platform, signal);
    return {
      digest: digestOf(bytes),
      manifest: bytes,
      blob: (digest, { offset }) => layout.blob(digest, offset),
      [Symbol.asyncDispose]: () => Promise.resolve(layout[Symbol.dispose]()),
    };
  } catch (error) {
    layout[Symbol.dispose]();
    throw error;
  }
}

async function contents(
  path: string,
  signal: AbortSignal,
): Promise<readonly ArchivedImage[] | undefined> {
  using layout = await Layout.openIfOne(path, signal);
  if (!layout) return undefined;
  const entries = await layout.index();
  const found = new Map<string, Set<string>>();
  for (const entry of entries) {
    const { digest } = entry;
    const name = nameOf(entry);
    const tag = tagOf(entry);
    // Docker gives the same tag to images that have different names.
    const own = tag !== undefined && isTag(tag) &&
      entries.every((other) => tagOf(other) !== tag || nameOf(other) === name);
    const reference = formatOciReference(own ? { path, tag } : { path, digest });
    parseOciReference(reference); // it may be a file whose path no reference can have
    const names = found.get(reference) ?? new Set();
    if (name !== undefined) names.add(name);
    found.set(reference, names);
  }
  return [...found].map(([reference, names]) => ({ reference, names: [...names] }));
}

function nameOf(entry: Descriptor): string | undefined {
  return entry.annotations[CONTAINERD_NAME] ?? tagOf(entry);
}

async function find(
  layout: Layout,
  reference: OciReference,
  platform: Platform,
  signal: AbortSignal,
): Promise<LayoutDocument> {
  const name = formatOciReference(reference);
  let next = await first(layout, reference, platform, name);
  for (let depth = 0; depth <= INDEX_DEPTH; depth++) {
    if (signal.aborted) {
      throw new HutchError("cancelled", `Cannot read ${name}: it was cancelled`, {
        cause: signal.reason,
      });
    }
    const document = await layout.document(next.digest, next.mediaType);
    if (document.manifest.kind === "image") return document;
    next = chooseManifest(document.manifest.manifests, platform, name);
  }
  throw new HutchError(
    "invalid_image",
    `Cannot read ${name}: its indexes are nested more than ${INDEX_DEPTH} deep`,
  );
}

async function first(
  layout: Layout,
  reference: OciReference,
  platform: Platform,
  name: string,
): Promise<{ readonly digest: string; readonly mediaType?: string }> {
  const entries = await layout.index();
  if (reference.digest !== undefined) {
    const { digest } = reference;
    const listed = entries.find((entry) => entry.digest === digest);
    if (listed || await layout.has(digest)) return listed ?? { digest };
    throw new HutchError("image_not_found", `Cannot find ${name}: it has no such digest`);
  }
  const tags = [...new Set(entries.map(tagOf).filter((tag) => tag !== undefined))].sort();
  const { tag } = reference;
  if (tag === undefined) {
    if (tags.length > 1) {
      throw new HutchError(
        "image_not_found",
        `Cannot choose an image of ${name}: it has several`,
        { hint: `add a tag: ${listOf(tags)}` },
      );
    }
    return chosen(entries, platform, name);
  }
  const tagged = entries.filter((entry) => tagOf(entry) === tag);
  if (tagged.length > 0) return chosen(tagged, platform, name);
  throw new HutchError(
    "image_not_found",
    `Cannot find ${name}: it has no such tag`,
    tags.length > 0 ? { hint: `it has ${listOf(tags)}` } : {},
  );
}

/** A lone entry is meant whatever platform it names; its configuration is checked later anyway. */
function chosen(entries: readonly Descriptor[], platform: Platform, name: string): Descriptor {
  const [only] = entries;
  return only && entries.length === 1 ? only : chooseManifest(entries, platform, name);
}

function isTag(text: string): boolean {
  return text.length <= TAG_LIMIT && TAG.test(text);
}

function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations[REF_NAME];
}
