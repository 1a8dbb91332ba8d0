/**
 * Writing images into a file that `hutch image load`, and other tools, read.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { asNoSpace, EarlySync, removeIfThere } from "../../atomic_file.ts";
import { HutchError } from "../../errors.ts";
import type { ArchiveEntry, ArchiveFormat } from "./archive.ts";
import type { BlobStore } from "../blobs/blob_store.ts";
import { tarEnd, tarHeader, tarPadding } from "./tar_header.ts";
import { cancelled, orCancelled } from "../wait.ts";

/** Options of `Images.save`. */
export interface ImageSaveOptions {
  /**
   * Where to: the path of a file, which is replaced when all is written, or a stream, which is closed
   * then and aborted when that fails.
   */
  readonly to: string | WritableStream<Uint8Array<ArrayBuffer>>;
  /** What kind of archive. @default {"oci"} */
  readonly format?: ArchiveFormat;
  /** Ends the work. */
  readonly signal?: AbortSignal;
}

const CHUNK = 1024 * 1024;

/**
 * The bytes of an archive; its blobs are checked on the way.
 *
 * @throws {HutchError} `digest_mismatch`, `cancelled`
 */
export async function* archiveBytes(
  entries: readonly ArchiveEntry[],
  blobs: BlobStore,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for (const { path, content } of entries) {
    const size = content instanceof Uint8Array ? content.length : content.size;
    yield tarHeader(path, size);
    if (content instanceof Uint8Array) yield content;
    else yield* blobBytes(blobs, content, { signal, doing: "save" });
    yield tarPadding(size);
  }
  yield tarEnd();
}

/**
 * A blob's bytes, held against its digest on the way.
 *
 * @throws {HutchError} `digest_mismatch`, `cancelled`
 */
export async function* blobBytes(
  blobs: BlobStore,
  { digest, size }: { readonly digest: string; readonly size: number },
  { signal, doing }: { readonly signal: AbortSignal; readonly doing: string },
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(blobs.path(digest));
  const hash = createHash("sha256");
  let done = 0;
  for (;;) {
    if (signal.aborted) throw cancelled(`${doing} images`, signal);
    const chunk = new Uint8Array(CHUNK);
    const count = await file.read(chunk);
    if (count === null) break;
    done += count;
    if (done > size) break;
    const bytes = chunk.subarray(0, count);
    hash.update(bytes);
    yield bytes;
  }
  if (done === size && `sha256:${hash.digest("hex")}` === digest) return;
  throw new HutchError("digest_mismatch", `Cannot ${doing} blob ${digest}: its file was changed`, {
    hint: "pull the image again",
  });
}

/**
 * Writes all bytes to a file or a stream. A file is either whole or as it was before; a device or a
 * pipe is written to as it comes.
 *
 * @returns How many bytes there were.
 * @throws {HutchError} `no_space`, `cancelled` also while nobody takes the bytes, and what reading throws.
 */
export async function writeArchive(
  bytes: AsyncIterable<Uint8Array<ArrayBuffer>>,
  { to, signal, doing = "save images" }: {
    readonly to: ImageSaveOptions["to"];
    readonly signal: AbortSignal;
    /** For errors. */
    readonly doing?: string;
  },
): Promise<number> {
  const work = { signal, doing };
  let written = 0;
  const counted = async function* () {
    for await (const chunk of bytes) {
      if (chunk.length === 0) continue;
      yield chunk;
      written += chunk.length;
    }
  };
  if (typeof to !== "string") await writeStream(counted(), to, work);
  else {
    const path = await placeOf(to, doing);
    if (path === undefined) await writeDevice(counted(), to, work);
    else await writeFile(counted(), path, doing);
  }
  return written;
}

/** What is going on. */
interface Work {
  readonly signal: AbortSignal;
  readonly doing: string;
}

async function writeStream(
  bytes: AsyncIterable<Uint8Array<ArrayBuffer>>,
  to: WritableStream<Uint8Array<ArrayBuffer>>,
  work: Work,
): Promise<void> {
  const writer = to.getWriter();
  try {
    for await (const chunk of bytes) await unlessCancelled(writer.write(chunk), work);
    await unlessCancelled(writer.close(), work);
  } catch (error) {
    writer.abort(error).catch(() => {}); // which may wait for as long as the write does
    throw error;
  }
}

/** Who should take the bytes may never do so. */
function unlessCancelled(written: Promise<void>, { signal, doing }: Work): Promise<void> {
  return orCancelled(written, doing, { signal, late: () => {} });
}

async function writeFile(
  bytes: AsyncIterable<Uint8Array<ArrayBuffer>>,
  path: string,
  doing: string,
): Promise<void> {
  let temporary: string | undefined;
  try {
    await removeAbandoned(path);
    using made = makeBeside(path);
    const { file } = made;
    temporary = made.path;
    {
      await using early = new EarlySync(temporary);
      for await (const chunk of bytes) {
        await writeAll(file, chunk);
        early.wrote(chunk.length);
      }
      await file.sync();
    }
    await Deno.rename(temporary, path);
    using folder = await Deno.open(dirname(path));
    await folder.sync();
  } catch (error) {
    if (temporary !== undefined) await removeIfThere(temporary);
    throw placeError(error, path, doing);
  }
}

/** A file that is to have this path, locked until it is closed: its writer lives. */
function makeBeside(
  path: string,
): { readonly path: string; readonly file: Deno.FsFile } & Disposable {
  for (;;) {
    const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
    const file = Deno.openSync(temporary, { write: true, createNew: true });
    try {
      file.lockSync(true);
      Deno.lstatSync(temporary);
      return { path: temporary, file, [Symbol.dispose]: () => file.close() };
    } catch (error) {
      file.close();
      // Somebody took us for dead before it was locked.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Removes what programs that died while they wrote this file have left beside it. */
async function removeAbandoned(path: string): Promise<void> {
  const [folder, begin] = [dirname(path), `${basename(path)}.`];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile || !name.startsWith(begin)) continue;
    if (!/^[0-9a-f]{8}\.new$/.test(name.slice(begin.length))) continue;
    const left = join(folder, name);
    try {
      using file = await Deno.open(left);
      if (file.tryLockSync(true)) await removeIfThere(left);
    } catch {
      // It is somebody else's, or went meanwhile.
    }
  }
}

async function writeDevice(
  bytes: AsyncIterable<Uint8Array<ArrayBuffer>>,
  path: string,
  work: Work,
): Promise<void> {
  try {
    // A named pipe opens when somebody reads.
    const opened = Deno.open(path, { write: true });
    const late = (file: Deno.FsFile) => file.close();
    using file = await orCancelled(opened, work.doing, { signal: work.signal, late });
    for await (const chunk of bytes) await unlessCancelled(writeAll(file, chunk), work);
  } catch (error) {
    throw placeError(error, path, work.doing);
  }
}

/** The file that a path means, behind links; undefined for what is no file and can't be replaced. */
async function placeOf(path: string, doing: string): Promise<string | undefined> {
  try {
    const { isFile, isDirectory } = await Deno.stat(path);
    if (isDirectory) {
      throw new HutchError("invalid_option", `Cannot ${doing} in ${path}: it is a folder`);
    }
    return isFile ? await Deno.realPath(path) : undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return path;
    throw error;
  }
}

function placeError(error: unknown, path: string, doing: string): unknown {
  const told = asNoSpace(error, path);
  if (told instanceof HutchError) return told;
  const problem = error instanceof Deno.errors.NotFound
    ? "its folder isn't there"
    : error instanceof Deno.errors.PermissionDenied
    ? "it can't be written"
    : undefined;
  if (problem === undefined) return error;
  return new HutchError("invalid_option", `Cannot ${doing} in ${path}: ${problem}`, {
    cause: error,
  });
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}
