/**
 * Reading an OCI image layout without being led out of it.
 *
 * @module
 */
import { join } from "node:path";
import {
  type Descriptor,
  digestHex,
  digestOf,
  errorText,
  HutchError,
  type ImageIndex,
  type ImageManifest,
  MANIFEST_LIMIT,
  parseManifest,
} from "../../../mod.ts";

const CHUNK = 256 * 1024;

/** A document of a layout, with its exact bytes. */
export interface LayoutDocument {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly manifest: ImageManifest | ImageIndex;
}

/** One layout folder. Its files are read only where they really are inside of it. */
export class Layout {
  readonly #name: string;
  readonly #root: string;

  private constructor(name: string, root: string) {
    this.#name = name;
    this.#root = root;
  }

  /**
   * Opens the folder.
   *
   * @throws {HutchError} `image_not_found` when there is no layout; `invalid_image`
   */
  static async open(path: string): Promise<Layout> {
    let root: string;
    try {
      root = await Deno.realPath(path);
      await Deno.stat(join(root, "oci-layout"));
    } catch (error) {
      const why =
        error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory
          ? "there is no file oci-layout in it"
          : errorText(error);
      throw new HutchError("image_not_found", `Cannot read image folder ${path}: ${why}`, {
        cause: error,
      });
    }
    const layout = new Layout(path, root);
    await layout.#checkVersion();
    return layout;
  }

  /** The manifests that `index.json` lists. */
  async index(): Promise<readonly Descriptor[]> {
    const bytes = await this.#read("index.json", MANIFEST_LIMIT);
    const index = parseManifest(bytes, `${this.#name}/index.json`);
    if (index.kind === "index") return index.manifests;
    throw this.#invalid("its index.json isn't an index");
  }

  /** A manifest or an index among the blobs, its digest checked. */
  async document(digest: string, mediaType?: string): Promise<LayoutDocument> {
    const bytes = await this.#read(blobPath(digest), MANIFEST_LIMIT);
    const found = digestOf(bytes);
    if (found !== digest) {
      throw new HutchError(
        "digest_mismatch",
        `Cannot read image folder ${this.#name}: blob ${digest} has digest ${found}`,
      );
    }
    return { bytes, manifest: parseManifest(bytes, `${digest} of ${this.#name}`, mediaType) };
  }

  /** Whether there is something where the blob would be. */
  async has(digest: string): Promise<boolean> {
    try {
      await Deno.lstat(join(this.#root, blobPath(digest)));
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /** A blob's bytes from `offset` on, not checked. */
  async blob(
    digest: string,
    offset: number,
  ): Promise<{ start: number; body: ReadableStream<Uint8Array<ArrayBuffer>> }> {
    const file = await this.#openFile(blobPath(digest));
    try {
      await file.seek(offset, Deno.SeekMode.Start);
    } catch (error) {
      file.close();
      throw error;
    }
    return { start: offset, body: chunksOf(file) };
  }

  async #checkVersion(): Promise<void> {
    const bytes = await this.#read("oci-layout", 64 * 1024);
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

  async #read(path: string, limit: number): Promise<Uint8Array<ArrayBuffer>> {
    using file = await this.#openFile(path);
    const { size } = await file.stat();
    if (size > limit) throw this.#invalid(`its ${path} is larger than ${limit} bytes`);
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const count = await file.read(bytes.subarray(at));
      if (count === null) throw this.#invalid(`its ${path} was cut short meanwhile`);
      at += count;
    }
    return bytes;
  }

  /**
   * Opens a regular file. A link that leads out of the layout would make other files of this
   * machine part of an image, and a named pipe would make us wait for ever.
   */
  async #openFile(path: string): Promise<Deno.FsFile> {
    try {
      const real = await Deno.realPath(join(this.#root, path));
      if (!real.startsWith(this.#root === "/" ? "/" : `${this.#root}/`)) {
        throw this.#invalid(`its ${path} is a link that leads out of it`);
      }
      if (!(await Deno.lstat(real)).isFile) throw this.#invalid(`its ${path} isn't a file`);
      return await Deno.open(real);
    } catch (error) {
      if (error instanceof HutchError) throw error;
      const why = error instanceof Deno.errors.NotFound ? "isn't there" : errorText(error);
      throw new HutchError(
        "invalid_image",
        `Cannot read image folder ${this.#name}: its ${path} ${why}`,
        { cause: error },
      );
    }
  }

  #invalid(problem: string): HutchError {
    return new HutchError("invalid_image", `Cannot read image folder ${this.#name}: ${problem}`);
  }
}

function blobPath(digest: string): string {
  return join("blobs", "sha256", digestHex(digest));
}

/** The rest of a file in large pieces; closes it at the end, on error and when cancelled. */
function chunksOf(file: Deno.FsFile): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(controller) {
      const chunk = new Uint8Array(CHUNK);
      let count: number | null;
      try {
        count = await file.read(chunk);
      } catch (error) {
        file.close();
        throw error;
      }
      if (count !== null) return controller.enqueue(chunk.subarray(0, count));
      file.close();
      controller.close();
    },
    cancel: () => file.close(),
  }, { highWaterMark: 0 });
}
