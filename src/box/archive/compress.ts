/**
 * The archive's compression: zstd, a frame for each few MiB, so that all processors have work.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import { constants, createZstdDecompress, zstdCompress } from "node:zlib";
import { badArchive } from "./format.ts";

/** Plain bytes of a frame. */
const FRAME = 4 * 2 ** 20;
const LEVEL = 3;
/** Frames of this size need a window of as much; larger ones would take memory, and aren't ours. */
const WINDOW_LOG = 23;
const PIECE = 2 ** 20;

/** Compresses bytes; chunks may be used again once the next one is asked for. */
export async function* compressed(
  plain: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const most = Math.min(navigator.hardwareConcurrency + 1, 9);
  const waiting: Promise<Uint8Array<ArrayBuffer>>[] = [];
  try {
    for await (const frame of frames(plain)) {
      if (waiting.length >= most) yield await (waiting.shift() ?? nothing());
      const made = compressFrame(frame);
      made.catch(() => {}); // seen when it is its turn
      waiting.push(made);
    }
    while (waiting.length > 0) yield await (waiting.shift() ?? nothing());
  } finally {
    await Promise.allSettled(waiting);
  }
}

async function* frames(
  plain: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let frame = new Uint8Array(FRAME);
  let used = 0;
  for await (const chunk of plain) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + FRAME - used);
      frame.set(part, used);
      used += part.length;
      at += part.length;
      if (used < FRAME) continue;
      yield frame;
      frame = new Uint8Array(FRAME);
      used = 0;
    }
  }
  if (used > 0) yield frame.subarray(0, used);
}

function compressFrame(frame: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const params = {
    [constants.ZSTD_c_compressionLevel]: LEVEL,
    [constants.ZSTD_c_checksumFlag]: 1,
  };
  return new Promise((resolve, reject) => {
    zstdCompress(frame, { params }, (error, result) => {
      if (error) reject(error);
      else resolve(plainArray(result));
    });
  });
}

/**
 * The plain bytes of an archive; whoever stops early ends the source, too.
 *
 * @throws {HutchError} `invalid_archive`, and what the source throws.
 */
export async function* decompressed(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let failure: unknown;
  const watched = async function* () {
    try {
      yield* source;
    } catch (error) {
      failure = error;
      throw error;
    }
  };
  const input = Readable.from(watched(), { objectMode: false });
  const decoder = createZstdDecompress({
    chunkSize: PIECE,
    params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG },
  });
  input.on("error", (error) => decoder.destroy(error));
  input.pipe(decoder);
  try {
    for await (const piece of decoder) {
      if (Buffer.isBuffer(piece)) yield plainArray(piece);
    }
  } catch (error) {
    if (failure !== undefined) throw failure;
    throw badArchive("it isn't zstd, or is damaged", error);
  } finally {
    input.destroy();
    decoder.destroy();
  }
}

/** The same memory as an ordinary array, where its type can say so. */
function plainArray(piece: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, length } = piece;
  return buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer, byteOffset, length)
    : new Uint8Array(piece);
}

function nothing(): never {
  throw new TypeError("a queue that isn't empty has a first one");
}
