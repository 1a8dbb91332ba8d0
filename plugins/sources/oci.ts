/**
 * Images from OCI image layouts, folders as skopeo, umoci and buildx write them: `oci:PATH`,
 * `oci:PATH:TAG`, `oci:PATH@sha256:…`.
 *
 * @module
 */
import { resolve as resolvePath } from "node:path";
import {
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
import { Layout, type LayoutDocument } from "./oci/layout.ts";

/** Which image of which folder. */
export interface OciReference {
  /** Absolute. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: string;
}

const REF_NAME = "org.opencontainers.image.ref.name";
/** The grammar that the image specification gives for names in a layout. */
const TAG = /^[A-Za-z0-9]+(?:(?:--|[-._:@+/])[A-Za-z0-9]+)*$/;
const TAG_LIMIT = 255;
const INDEX_DEPTH = 3;

/**
 * A plugin with the source `oci`.
 *
 * @example
 * ```ts
 * import { ociSource } from "./plugins/sources/oci.ts";
 * const plugin = ociSource();
 * ```
 */
export function ociSource(): Plugin {
  const source: ImageSource = {
    canonical: (reference) => formatOciReference(parseOciReference(reference)),
    pin: (reference, digest) =>
      formatOciReference({ path: parseOciReference(reference).path, digest }),
    open,
  };
  return definePlugin({ name: "oci", sources: { oci: source } });
}

/**
 * Takes `PATH[:TAG]` or `PATH@DIGEST` apart. The first colon ends the path, as it does for skopeo.
 *
 * @throws {HutchError} `invalid_reference`
 */
export function parseOciReference(text: string): OciReference {
  const fail = (problem: string) =>
    new HutchError(
      "invalid_reference",
      `Cannot read reference ${JSON.stringify(text)}: ${problem}`,
    );
  if (text.includes("\0")) throw fail("it has a NUL character");
  const at = text.lastIndexOf("@");
  const digest = at >= 0 && isDigest(text.slice(at + 1)) ? text.slice(at + 1) : undefined;
  const named = digest === undefined ? text : text.slice(0, at);
  const colon = named.indexOf(":");
  const path = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? undefined : named.slice(colon + 1);
  if (path === "") throw fail("it names no folder");
  if (tag !== undefined && digest !== undefined) throw fail("it has both a tag and a digest");
  if (tag !== undefined && (tag.length > TAG_LIMIT || !TAG.test(tag))) {
    throw fail(`${JSON.stringify(tag)} can't be a tag`);
  }
  const absolute = resolvePath(path);
  if (absolute.includes(":")) throw fail(`its folder ${absolute} has a colon in its path`);
  return {
    path: absolute,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  };
}

/** The canonical spelling, with an absolute path. */
export function formatOciReference({ path, tag, digest }: OciReference): string {
  if (digest !== undefined) return `${path}@${digest}`;
  return tag === undefined ? path : `${path}:${tag}`;
}

async function open(request: SourceRequest): Promise<SourceImage> {
  const reference = parseOciReference(request.reference);
  const layout = await Layout.open(reference.path);
  const { bytes } = await find(layout, reference, request.platform, request.signal);
  return {
    digest: digestOf(bytes),
    manifest: bytes,
    blob: (digest, { offset }) => layout.blob(digest, offset),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
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
    throw new HutchError("image_not_found", `Cannot find ${name}: the folder has no such digest`);
  }
  const tags = [...new Set(entries.map(tagOf).filter((tag) => tag !== undefined))].sort();
  const { tag } = reference;
  if (tag === undefined) {
    if (tags.length > 1) {
      throw new HutchError(
        "image_not_found",
        `Cannot choose an image of ${name}: it has several`,
        { hint: `add a tag: ${listed(tags)}` },
      );
    }
    return chosen(entries, platform, name);
  }
  const tagged = entries.filter((entry) => tagOf(entry) === tag);
  if (tagged.length > 0) return chosen(tagged, platform, name);
  throw new HutchError(
    "image_not_found",
    `Cannot find ${name}: the folder has no such tag`,
    tags.length > 0 ? { hint: `it has ${listed(tags)}` } : {},
  );
}

/** A lone entry is meant whatever platform it names; its configuration is checked later anyway. */
function chosen(entries: readonly Descriptor[], platform: Platform, name: string): Descriptor {
  const [only] = entries;
  return only && entries.length === 1 ? only : chooseManifest(entries, platform, name);
}

function tagOf(entry: Descriptor): string | undefined {
  return entry.annotations[REF_NAME];
}

function listed(tags: readonly string[]): string {
  const shown = tags.slice(0, 20).map((tag) => JSON.stringify(tag.slice(0, 128))).join(", ");
  return tags.length > 20 ? `${shown}, …` : shown;
}
