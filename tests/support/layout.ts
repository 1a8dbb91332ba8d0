/**
 * OCI image layouts made by hand.
 *
 * @module
 */
import { join } from "node:path";
import { digestHex, digestOf } from "../../src/images/digest.ts";
import type { MemoryImage } from "./fake_registry.ts";
import type { TarFields } from "./tar.ts";
import { TempFolder } from "./temp.ts";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";

/** A layout in a folder of its own. */
export class TempLayout extends TempFolder {
  constructor() {
    super();
    Deno.mkdirSync(join(this.path, "blobs/sha256"), { recursive: true });
    this.write("oci-layout", '{"imageLayoutVersion":"1.0.0"}');
    this.index();
  }

  /** Writes a file of the layout. */
  write(path: string, content: string | Uint8Array): void {
    Deno.writeFileSync(
      join(this.path, path),
      typeof content === "string" ? new TextEncoder().encode(content) : content,
    );
  }

  /** Writes a blob; returns its digest. */
  blob(bytes: Uint8Array): string {
    this.write(this.blobPath(digestOf(bytes)), bytes);
    return digestOf(bytes);
  }

  /** Where a blob is in the layout. */
  blobPath(digest: string): string {
    return `blobs/sha256/${digestHex(digest)}`;
  }

  /** Writes an image's blobs; returns its entry for {@link index}. */
  add(image: MemoryImage): Record<string, unknown> {
    this.blob(image.manifest);
    for (const bytes of image.blobs.values()) this.blob(bytes);
    return { mediaType: MANIFEST, digest: image.digest, size: image.manifest.length };
  }

  /** The layout as entries of an archive. */
  entries(): readonly TarFields[] {
    const file = (path: string): TarFields => ({
      path,
      data: Deno.readFileSync(join(this.path, path)),
    });
    const blobs = [...Deno.readDirSync(join(this.path, "blobs/sha256"))].map(({ name }) => name);
    return [
      { path: "blobs/", type: "5" },
      { path: "blobs/sha256/", type: "5" },
      ...blobs.sort().map((name) => file(`blobs/sha256/${name}`)),
      file("index.json"),
      file("oci-layout"),
    ];
  }

  /** Writes the index. */
  index(...manifests: readonly Record<string, unknown>[]): void {
    this.write("index.json", JSON.stringify({ schemaVersion: 2, manifests }));
  }
}

/** An entry of an index with a tag. */
export function tagged(entry: Record<string, unknown>, tag: string): Record<string, unknown> {
  return { ...entry, annotations: { "org.opencontainers.image.ref.name": tag } };
}
