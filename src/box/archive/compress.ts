/**
 * The archive's compression: zstd, a frame for each few MiB, so that all processors have work.
 *
 * @module
 */
import { constants, zstdCompress, zstdDecompressSync } from "node:zlib";
import { badArchive } from "./format.ts";
import { zstdFrames } from "./zstd_frames.ts";

/** Plain bytes of a frame, at most. */
const FRAME = 4 * 2 ** 20;
const LEVEL = 3;
/** Of a frame's result: each one is a trip between threads. */
const CHUNK = 2 ** 20;

/** Compresses bytes; chunks may be used again once the next one is asked for. */
export async function* compressed(
  plain: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const waiting: Promise<Uint8Array<ArrayBuffer>>[] = [];
  try {
    for await (const frame of frames(plain)) {
      if (waiting.length >= parallel()) yield await (waiting.shift() ?? nothing());
      const made = compressFrame(frame);
      made.catch(() => {}); // seen when it is its turn
      waiting.push(made);
    }
    while (waiting.length > 0) yield await (waiting.shift() ?? nothing());
  } finally {
    await Promise.allSettled(waiting);
  }
}

/** Frames that are worked on at once. */
function parallel(): number {
  return Math.min(navigator.hardwareConcurrency * 2, 16);
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
    zstdCompress(frame, { params, chunkSize: CHUNK }, (error, result) => {
      if (error) reject(error);
      else resolve(plainArray(result));
    });
  });
}

/**
 * The plain bytes of an archive, frame by frame.
 *
 * @throws {HutchError} `invalid_archive`, and what the source throws.
 */
export async function* decompressed(
  source: AsyncIterable<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  for await (const frame of zstdFrames(source)) {
    let plain: Uint8Array<ArrayBuffer>;
    try {
      // Of what a frame may say of itself, this counts: nothing grows beyond it. Not in the background,
      // where Deno (2.9) has no way to tell of damage but to end the program.
      plain = plainArray(zstdDecompressSync(frame, { maxOutputLength: FRAME }));
    } catch (error) {
      throw badArchive("it is damaged", error);
    }
    yield plain;
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
