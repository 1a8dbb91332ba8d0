/**
 * A layer's plain bytes, whatever its file is compressed with.
 *
 * @module
 */
import { createReadStream } from "node:fs";
import { Buffer } from "node:buffer";
import { createGunzip } from "node:zlib";
import { errorText, HutchError } from "../../errors.ts";
import { decodeFile } from "../../../ffi/helper.ts";

const PIECE_SIZE = 256 * 1024;
/** One is the caller's, one behind it may be still, one is being read. */
const RECYCLED = 3;

/**
 * The plain bytes of a layer's file. A piece stays as it is until the second one behind it was asked
 * for: what is thrown away instead stays until a collector comes, which is tens of megabytes later.
 *
 * @param onRead Gets how many bytes of the file were read since the last call.
 * @throws HutchError `invalid_image` when the file isn't what `compression` says or is cut short
 */
export async function* layerBytes(
  layer: { readonly path: string; readonly compression: "none" | "gzip" | "zstd" },
  onRead: (bytes: number) => void = () => {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { path, compression } = layer;
  if (compression === "none") return yield* fileBytes(path, onRead);
  if (compression === "gzip") return yield* gunzipped(path, onRead);
  yield* decodeFile(path, "zstd", { onRead, recycle: true });
}

async function* fileBytes(
  path: string,
  onRead: (bytes: number) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  using file = await Deno.open(path);
  const pieces = Array.from({ length: RECYCLED }, () => new Uint8Array(PIECE_SIZE));
  for (let count = 0;; count++) {
    const piece = pieces[count % RECYCLED] ?? new Uint8Array(PIECE_SIZE);
    const length = await file.read(piece);
    if (length === null) return;
    onRead(length);
    yield piece.subarray(0, length);
  }
}

async function* gunzipped(
  path: string,
  onRead: (bytes: number) => void,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const file = createReadStream(path, { highWaterMark: PIECE_SIZE });
  const gunzip = createGunzip({ chunkSize: PIECE_SIZE });
  file.on("data", (piece) => onRead(piece.length));
  file.on("error", (error) => gunzip.destroy(error));
  file.pipe(gunzip);
  try {
    for await (const piece of gunzip) {
      if (Buffer.isBuffer(piece)) yield plainArray(piece);
    }
  } catch (error) {
    if (!isZlibError(error)) throw error;
    throw new HutchError("invalid_image", `Cannot read ${path}: gzip: ${errorText(error)}`, {
      cause: error,
    });
  } finally {
    file.destroy();
    gunzip.destroy();
  }
}

/** The same memory as an ordinary array, where its type can say so. */
function plainArray(piece: Buffer): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, length } = piece;
  return buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer, byteOffset, length)
    : new Uint8Array(piece);
}

function isZlibError(error: unknown): boolean {
  return error instanceof Error && "code" in error && typeof error.code === "string" &&
    error.code.startsWith("Z_");
}
