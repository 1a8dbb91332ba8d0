/**
 * From a folder of this machine to the layer that an image has of it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { FolderTar, type FolderTarOptions, type OwnerRange } from "../../../ffi/helper.ts";
import { cancelled } from "../wait.ts";

/** A folder as a layer, an uncompressed tar; holds the folder open until disposed. */
export interface PackedFolder extends Disposable {
  /** Digest of the content, `sha256:HEX`. */
  readonly digest: string;
  /** In bytes. */
  readonly size: number;
  /** What isn't in it: sockets, and the contents of file systems mounted inside. */
  readonly leftOut: { readonly sockets: number; readonly mounts: number };
  /** Its bytes, read from the folder again. The stream breaks when something has changed. */
  stream(signal: AbortSignal): ReadableStream<Uint8Array<ArrayBuffer>>;
}

/** Options of {@link packFolder}. */
export interface PackFolderOptions {
  /**
   * Whom files belong to in the layer: as they do here, all to one user and group, or by a map, in
   * which every owner must be. @default {"keep"}
   */
  readonly owner?: "keep" | { readonly uid: number; readonly gid: number } | readonly OwnerRange[];
  /** Entries, at most. @default {5,000,000} */
  readonly maxEntries?: number;
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

/**
 * Reads a folder once for its digest, so that its bytes can be given out without a copy. Names,
 * modes, times, hard links, devices, holes, access lists (where owners stay what they are), file
 * capabilities and `user.` attributes are kept; nothing outside of the folder is read.
 *
 * @example How large a folder's layer is
 * ```ts
 * import { packFolder } from "@hutch/hutch";
 * using packed = await packFolder("/etc/ssl", { owner: { uid: 0, gid: 0 } });
 * console.log(packed.size, packed.leftOut.sockets);
 * ```
 *
 * @throws {HutchError} `image_not_found`, `invalid_image`, `limit_exceeded`, `cancelled`,
 * `part_missing`
 */
export async function packFolder(
  path: string,
  options: PackFolderOptions = {},
): Promise<PackedFolder> {
  const { signal = new AbortController().signal, ...kept } = options;
  using stack = new DisposableStack();
  const first = stack.use(FolderTar.open(path, kept));
  const hash = createHash("sha256");
  let size = 0;
  for await (const piece of piecesOf(first, signal)) {
    hash.update(piece);
    size += piece.length;
  }
  const { leftOut } = first;
  const open = stack.move();
  return {
    digest: `sha256:${hash.digest("hex")}`,
    size,
    leftOut,
    stream: (signal) => ReadableStream.from(again(path, { ...kept, earlier: first }, signal)),
    [Symbol.dispose]: () => open.dispose(),
  };
}

async function* again(
  path: string,
  options: FolderTarOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using tar = FolderTar.open(path, options);
  yield* piecesOf(tar, signal);
}

async function* piecesOf(
  tar: FolderTar,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let next: Promise<Uint8Array<ArrayBuffer> | undefined> = Promise.resolve(new Uint8Array());
  try {
    for (;;) {
      const piece = await next;
      if (signal.aborted) throw cancelled(`read folder ${tar.path}`, signal);
      if (piece === undefined) return;
      next = tar.read(); // while this one is looked at
      next.catch(() => {}); // told when it is waited for
      if (piece.length > 0) yield piece;
    }
  } finally {
    await next.catch(() => {}); // C may still write into it
  }
}
