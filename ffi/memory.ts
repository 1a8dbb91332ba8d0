/**
 * Memory that C gives. The helper itself follows the pointers: `Deno.UnsafePointer` and its view work
 * only for programs that may load every library (`--allow-ffi` without a list).
 *
 * @module
 */
import { helper } from "./library.ts";

/** Of a line about a failure, in bytes. */
const LONGEST_TEXT = 8 * 1024;

/** Room for a pointer that C fills in. */
export class OutPointer {
  /** Give this to C. */
  readonly room: BigUint64Array<ArrayBuffer> = new BigUint64Array(1);

  /** What C put there. */
  get value(): Deno.PointerValue {
    return helper().hutch_pointer_in(this.room);
  }
}

/** The text at a C string; no more than its first 8 KiB. */
export function textAt(pointer: Deno.PointerValue): string {
  if (pointer === null) return "";
  const bytes = new Uint8Array(LONGEST_TEXT);
  const length = helper().hutch_text_at(pointer, bytes, BigInt(bytes.length));
  return new TextDecoder().decode(bytes.subarray(0, Number(length)));
}

/** A copy of the bytes at a pointer. */
export function bytesAt(pointer: Deno.PointerObject, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  helper().hutch_bytes_at(pointer, bytes, BigInt(size));
  return bytes;
}
