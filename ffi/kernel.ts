/**
 * The kernel inside libkrunfw.
 *
 * @module
 */
import { HutchError } from "../src/errors.ts";
import { helper } from "./library.ts";
import { bytesAt, OutPointer } from "./memory.ts";
import { cString, errnoName } from "./result.ts";

/** A flat kernel image and where it belongs. */
export interface KernelImage {
  /** A copy: stays valid. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Guest address of the first byte. */
  readonly loadAddress: bigint;
  /** Guest address of the 64-bit entry. */
  readonly entryAddress: bigint;
}

/**
 * Reads the kernel out of libkrunfw.
 *
 * @throws HutchError `part_missing` when there is no such library, or no kernel in it
 */
export function readKernel(libkrunfw: string): KernelImage {
  const library = helper();
  const [handle, bytes] = [new OutPointer(), new OutPointer()];
  const [size, load, entry] = [
    new BigUint64Array(1),
    new BigUint64Array(1),
    new BigUint64Array(1),
  ];
  const path = cString(libkrunfw);
  const result = library.hutch_kernel_open(path, handle.room, bytes.room, size, load, entry);
  if (result < 0) {
    const name = errnoName(result);
    const why = name === "ENOEXEC" ? "it can't be loaded, or holds no kernel" : name;
    throw new HutchError("part_missing", `Cannot read the kernel in ${libkrunfw}: ${why}`, {
      hint: "install libkrunfw 5",
    });
  }
  try {
    const start = bytes.value;
    if (start === null) throw new TypeError("libkrunfw gave no kernel");
    return {
      bytes: bytesAt(start, Number(size[0] ?? 0n)),
      loadAddress: load[0] ?? 0n,
      entryAddress: entry[0] ?? 0n,
    };
  } finally {
    library.hutch_kernel_close(handle.value);
  }
}
