/**
 * Decompression that Deno can't do right.
 *
 * @module
 */
import { helper } from "./library.ts";
import { cString, errnoName, OutPointer, textAt, unwrap } from "./result.ts";

/** Formats of {@link decodeFile}. */
export type DecoderFormat = "bzip2" | "gzip" | "xz" | "zstd";

const PIECE_SIZE = 512 * 1024;

/**
 * The plain bytes of a compressed file, in pieces; each stays the caller's.
 *
 * @throws HutchError `invalid_image` when the file isn't what `format` says or is cut short
 */
export async function* decodeFile(
  path: string,
  format: DecoderFormat,
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
  try {
    for (;;) {
      const piece = new Uint8Array(PIECE_SIZE);
      const got = await library.hutch_decoder_read(decoder, piece, BigInt(piece.length));
      const length = unwrap(
        Number(got),
        `read ${path}`,
        () => textAt(library.hutch_decoder_error(decoder)),
      );
      if (length === 0) return;
      yield piece.subarray(0, length);
    }
  } finally {
    library.hutch_decoder_close(decoder);
  }
}
