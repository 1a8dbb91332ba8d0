/**
 * Reading an OCI image layout.
 *
 * @module
 */
import { join } from "node:path";
import {
  type Descriptor,
  digestHex,
  digestOf,
  HutchError,
  type ImageIndex,
  type ImageManifest,
  MANIFEST_LIMIT,
  parseManifest,
} from "../../../mod.ts";
import { OtherKind } from "../archive/file.ts";
import { type LayoutFiles, openLayoutFiles } from "./files.ts";

/** A document of a layout, with its exact bytes. */
export interface LayoutDocument {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly manifest: ImageManifest | ImageIndex;
}

/** One layout, open until disposed. */
export class Layout implements Disposable {
  readonly #files: LayoutFiles;

  private constructor(files: LayoutFiles) {
    this.#files = files;
  }

  /**
   * Opens a folder or an archive.
   *
   * @param path Absolute.
   * @throws {HutchError} `image_not_found` when there is no layout; `invalid_image`,
   * `limit_exceeded`, `no_space`, `cancelled`
   */
  static async open(path: string, signal: AbortSignal): Promise<Layout> {
    const files = await openLayoutFiles(path, signal);
    try {
      if (!await files.has("oci-layout")) throw await noLayout(files);
      const layout = new Layout(files);
      await layout.#checkVersion();
      return layout;
    } catch (error) {
      files[Symbol.dispose]();
      throw error;
    }
  }

  /** Opens a layout; undefined when the file or folder is something else. Throws as {@link open}. */
  static async openIfOne(path: string, signal: AbortSignal): Promise<Layout | undefined> {
    try {
      return await this.open(path, signal);
    } catch (error) {
      if (error instanceof OtherKind) return undefined;
      throw error;
    }
  }

  /** The manifests that `index.json` lists. */
  async index(): Promise<readonly Descriptor[]> {
    const bytes = await this.#files.read("index.json", MANIFEST_LIMIT);
    const index = parseManifest(bytes, `index.json of ${this.#files.name}`);
    if (index.kind === "index") return index.manifests;
    throw this.#invalid("its index.json isn't an index");
  }

  /** A manifest or an index among the blobs, its digest checked. */
  async document(digest: string, mediaType?: string): Promise<LayoutDocument> {
    const bytes = await this.#files.read(blobPath(digest), MANIFEST_LIMIT);
    const found = digestOf(bytes);
    if (found !== digest) {
      throw new HutchError(
        "digest_mismatch",
        `Cannot read ${this.#files.name}: blob ${digest} has digest ${found}`,
      );
    }
    return { bytes, manifest: parseManifest(bytes, `${digest} of ${this.#files.name}`, mediaType) };
  }

  /** Whether there is something where the blob would be. */
  has(digest: string): Promise<boolean> {
    return this.#files.has(blobPath(digest));
  }

  /** A blob's bytes from `offset` on, not checked. */
  async blob(
    digest: string,
    offset: number,
  ): Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }> {
    return { start: offset, body: await this.#files.stream(blobPath(digest), offset) };
  }

  [Symbol.dispose](): void {
    this.#files[Symbol.dispose]();
  }

  async #checkVersion(): Promise<void> {
    const bytes = await this.#files.read("oci-layout", 64 * 1024);
    let version: unknown;
    try {
      const parsed: unknown = JSON.parse(new TextDecoder().decode(bytes));
      if (typeof parsed === "object" && parsed !== null && "imageLayoutVersion" in parsed) {
        version = parsed.imageLayoutVersion;
      }
    } catch {
      // Said below, without the parser's quote of the file.
    }
    if (typeof version !== "string") throw this.#invalid("its oci-layout names no version");
    if (!/^1\.\d{1,6}\.\d{1,6}$/.test(version)) {
      throw this.#invalid(`its version ${JSON.stringify(version.slice(0, 40))} is unknown`);
    }
  }

  #invalid(problem: string): HutchError {
    return new HutchError("invalid_image", `Cannot read ${this.#files.name}: ${problem}`);
  }
}

async function noLayout(files: LayoutFiles): Promise<HutchError> {
  const docker = await files.has("manifest.json");
  return new OtherKind(
    "image_not_found",
    `Cannot read ${files.name}: there is no file oci-layout in it`,
    docker ? { hint: "it looks like docker save's: name it docker-archive:PATH" } : {},
  );
}

function blobPath(digest: string): string {
  return join("blobs", "sha256", digestHex(digest));
}
