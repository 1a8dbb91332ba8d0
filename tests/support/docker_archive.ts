/**
 * Archives as `docker save` writes them, made by hand.
 *
 * @module
 */
import type { MemoryImage } from "./fake_registry.ts";
import type { TarFields } from "./tar.ts";

/** One image of an archive. */
export interface SavedImage {
  readonly image: MemoryImage;
  readonly tags?: readonly string[];
}

/** What `manifest.json` says of an image. */
export interface SavedEntry {
  readonly Config: string;
  readonly RepoTags: readonly string[] | null;
  readonly Layers: readonly string[];
}

/**
 * The entries of an archive, as Docker before 25 wrote it: a folder per layer, named by an id that is
 * no digest; a layer that an image before had too is a symbolic link.
 */
export function savedByOldDocker(...images: readonly SavedImage[]): readonly TarFields[] {
  const entries: TarFields[] = [];
  const seen = new Map<string, string>();
  const list = images.map(({ image, tags }, number): SavedEntry => {
    const layers = image.layers.map((digest, index) => {
      const folder = `${number}${index}`.padEnd(64, "f");
      const path = `${folder}/layer.tar`;
      const before = seen.get(digest);
      entries.push({ path: `${folder}/`, type: "5" }, { path: `${folder}/VERSION`, data: "1.0" });
      if (before === undefined) entries.push({ path, data: blob(image, digest) });
      else entries.push({ path, type: "2", link: `../${before}` });
      seen.set(digest, path);
      return path;
    });
    const config = `${configOf(image).slice(7)}.json`;
    entries.push({ path: config, data: blob(image, configOf(image)) });
    return { Config: config, RepoTags: tags ?? null, Layers: layers };
  });
  return [...entries, { path: "manifest.json", data: JSON.stringify(list) }];
}

/** The same as Docker from 25 on writes it: blobs named by digest, and an OCI layout around them. */
export function savedByDocker(...images: readonly SavedImage[]): readonly TarFields[] {
  const blobs = new Map<string, TarFields>();
  const path = (digest: string) => `blobs/sha256/${digest.slice(7)}`;
  const put = (digest: string, data: Uint8Array) => blobs.set(digest, { path: path(digest), data });
  const list = images.map(({ image, tags }): SavedEntry => {
    for (const [digest, bytes] of image.blobs) put(digest, bytes);
    put(image.digest, image.manifest);
    return {
      Config: path(configOf(image)),
      RepoTags: tags ?? null,
      Layers: image.layers.map(path),
    };
  });
  const manifests = images.flatMap(({ image, tags = [""] }) =>
    tags.map((tag) => ({
      mediaType: "application/vnd.oci.image.manifest.v1+json",
      digest: image.digest,
      size: image.manifest.length,
      ...(tag === "" ? {} : {
        annotations: {
          "io.containerd.image.name": `docker.io/library/${tag}`,
          "org.opencontainers.image.ref.name": tag.replace(/.*:/, ""),
        },
      }),
    }))
  );
  return [
    { path: "blobs/", type: "5" },
    { path: "blobs/sha256/", type: "5" },
    ...blobs.values(),
    { path: "index.json", data: JSON.stringify({ schemaVersion: 2, manifests }) },
    { path: "manifest.json", data: JSON.stringify(list) },
    { path: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
  ];
}

/** The digest of an image's configuration: Docker's id of it. */
export function configOf(image: MemoryImage): string {
  const [found] = [...image.blobs.keys()].filter((digest) => !image.layers.includes(digest));
  if (found === undefined) throw new Error("the image has no configuration");
  return found;
}

function blob(image: MemoryImage, digest: string): Uint8Array<ArrayBuffer> {
  const bytes = image.blobs.get(digest);
  if (!bytes) throw new Error(`the image has no blob ${digest}`);
  return bytes;
}
