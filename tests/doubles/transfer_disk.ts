/**
 * What `ffi/transfer_disk.h` says; hutch's TypeScript has no part in it.
 *
 * @module
 */
import { makeFrame } from "../../src/guest/codec.ts";

const header = await Deno.readTextFile(new URL("../../ffi/transfer_disk.h", import.meta.url));

function valueOf(name: string): number {
  const [, text = ""] = new RegExp(`^#define HUTCH_${name} ([^/\\n]+)`, "m").exec(header) ?? [];
  return text.replace(/[()]/g, "").split("*").reduce(
    (product, factor) => product * Number(factor),
    1,
  );
}

/** Type of the frame that says how many pieces were read. */
export const TAKEN = valueOf("TAKEN");
/** Bit of DATA's `flags`. */
export const PLACED = valueOf("PLACED");
/** Of which pieces have whole ones, in bytes. */
export const BLOCK = valueOf("TRANSFER_BLOCK");
/** The disk's size, in bytes. */
export const BYTES = valueOf("TRANSFER_BYTES");
/** The disk's sectors, in bytes. */
export const SECTOR = valueOf("SECTOR");

/** The payload of a frame with {@link PLACED}. */
export function placed(at: number, length: number, mark: number): Uint8Array<ArrayBuffer> {
  return words(at, length, mark);
}

/** What is on the disk for a piece. */
export function pieceOf(bytes: Uint8Array, mark: number): Uint8Array<ArrayBuffer> {
  const behind = Math.ceil(bytes.length / SECTOR) * SECTOR;
  const piece = new Uint8Array(behind + SECTOR);
  piece.set(bytes);
  piece.set(words(mark), behind);
  return piece;
}

/** A frame that says how many pieces were read. */
export function makeTaken(count: number): Uint8Array<ArrayBuffer> {
  return makeFrame(TAKEN, 0, words(count));
}

function words(...values: readonly number[]): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, index) => view.setUint32(4 * index, value));
  return new Uint8Array(view.buffer);
}
