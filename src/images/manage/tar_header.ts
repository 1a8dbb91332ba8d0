/**
 * Headers of tar files that hutch writes itself: regular files alone, the same bytes whoever writes
 * them and whenever.
 *
 * @module
 */

/** Tar files are made of blocks of so many bytes. */
export const TAR_BLOCK = 512;

const NAME_LIMIT = 100;
/** What eleven octal digits can say; larger sizes are written as GNU tar does, in binary. */
const OCTAL_LIMIT = 8 ** 11 - 1;

/**
 * The header of a file that everybody may read, root's, from 1970.
 *
 * @param path Relative, plain ASCII, at most 100 characters.
 * @param size In bytes.
 */
export function tarHeader(path: string, size: number): Uint8Array<ArrayBuffer> {
  if (path.length > NAME_LIMIT) throw new Error(`Cannot write a tar header: ${path} is too long`);
  const header = new Uint8Array(TAR_BLOCK);
  const encoder = new TextEncoder();
  const put = (text: string, at: number) => header.set(encoder.encode(text), at);
  put(path, 0);
  put("0000644\0", 100);
  put("0000000\0", 108);
  put("0000000\0", 116);
  putSize(header, size);
  put("00000000000\0", 136);
  put("        ", 148);
  put("0", 156);
  put("ustar\x0000", 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return header;
}

/** Zeros that fill a file's last block. */
export function tarPadding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

/** What ends a tar file. */
export function tarEnd(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(2 * TAR_BLOCK);
}

function putSize(header: Uint8Array<ArrayBuffer>, size: number): void {
  if (size <= OCTAL_LIMIT) {
    header.set(new TextEncoder().encode(`${size.toString(8).padStart(11, "0")}\0`), 124);
    return;
  }
  const view = new DataView(header.buffer);
  header[124] = 0x80;
  view.setBigUint64(128, BigInt(size));
}
