/**
 * Decompression that Deno can't do right.
 *
 * @module
 */
import { helper } from "./library.ts";
import { OutPointer, textAt } from "./memory.ts";
import { cString, errnoName, unwrap } from "./result.ts";

/** Formats of {@link decodeFile}. */
export type DecoderFormat = "bzip2" | "gzip" | "xz" | "zstd";

const PIECE_SIZE = 512 * 1024;

/** Options of {@link decodeFile}. */
export interface DecodeOptions {
  /** Gets how many bytes of the file were used since the last call. */
  readonly onRead?: (bytes: number) => void;
  /**
   * Whether memory is used again: a piece then stays as it is until the third one behind it was
   * asked for, instead of for good. @default {false}
   */
  readonly recycle?: boolean;
}

/** One is the caller's, one behind it may be still, one waits, one is being made. */
const RECYCLED = 4;

/**
 * The plain bytes of a compressed file, in pieces; each stays the caller's. The next piece is made
 * while the caller works on one.
 *
 * @throws HutchError `invalid_image` when the file isn't what `format` says or is cut short
 */
export async function* decodeFile(
  path: string,
  format: DecoderFormat,
  { onRead = () => {}, recycle = false }: DecodeOptions = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const library = helper();
  const out = new OutPointer();
  const opened = library.hutch_decoder_open(cString(path), cString(format), out.room);
  unwrap(
    opened,
    `read ${path}`,
    () => errnoName(opened) === "EBADMSG" ? `it isn't ${format}, or cut short` : "",
  );
  const decoder = out.value;
  const recycled = recycle
    ? Array.from({ length: RECYCLED }, () => new Uint8Array(PIECE_SIZE))
    : [];
  let count = 0;
  const read = () => {
    const buffer = recycled[count++ % RECYCLED] ?? new Uint8Array(PIECE_SIZE);
    return readPiece(decoder, path, buffer);
  };
  let position = 0;
  let next = read();
  try {
    for (;;) {
      const piece = await next;
      const used = Number(library.hutch_decoder_position(decoder));
      onRead(used - position);
      position = used;
      if (piece.length === 0) return;
      next = read();
      next.catch(() => {}); // seen at the next await
      yield piece;
    }
  } finally {
    // Also when the caller leaves early: C may still work with the decoder.
    await next.catch(() => {});
    library.hutch_decoder_close(decoder);
  }
}

/** The next plain bytes; none at the end. */
async function readPiece(
  decoder: Deno.PointerValue,
  path: string,
  piece: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  const library = helper();
  const got = await library.hutch_decoder_read(decoder, piece, BigInt(piece.length));
  const length = unwrap(
    Number(got),
    `read ${path}`,
    () => textAt(library.hutch_decoder_error(decoder)),
  );
  return piece.subarray(0, length);
}
