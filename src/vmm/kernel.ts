/**
 * The guest kernel: taken out of libkrunfw once and written as an ELF file that every engine
 * boots. libkrun enters it at `e_entry` (64-bit); QEMU at the address in the Xen PVH note.
 *
 * @module
 */
import { join } from "node:path";
import { makeOnce } from "../atomic_file.ts";
import { HutchError } from "../errors.ts";
import type { KernelImage } from "../../ffi/helper.ts";
import { knownDigest } from "./known_digest.ts";

/**
 * What the kernel is told at boot; both engines give it the same. `no_timer_check`, which it decides by
 * itself on KVM: where it is emulated by a busy machine, ticks come too late for its check of the timer,
 * and it would end before there is a console to say so.
 */
export const KERNEL_COMMAND_LINE =
  "console=hvc0 root=/dev/vda ro init=/init quiet panic=-1 reboot=t no_timer_check";

const PAGE = 0x1000;
const NOTE_PVH = 18;

/**
 * The kernel file's path, made if it isn't cached.
 *
 * @param folder Where kernels are kept, as `kernel-HEX.elf` by the digest of libkrunfw, and what is known of
 * libkrunfw's digest.
 * @throws HutchError `part_missing` when libkrunfw holds no kernel that can be used.
 */
export async function kernelPath(
  folder: string,
  libkrunfw: string,
  readKernel: (path: string) => KernelImage,
): Promise<string> {
  const digest = await knownDigest(folder, "libkrunfw", libkrunfw);
  const path = join(folder, `kernel-${digest}.elf`);
  await makeOnce(path, async (temporary) => {
    const kernel = readKernel(libkrunfw);
    await Deno.writeFile(temporary, kernelElf(kernel), { mode: 0o600 });
  });
  return path;
}

/** Wraps a flat kernel image as an ELF with one loaded segment and the PVH note. */
export function kernelElf(kernel: {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly loadAddress: bigint;
  readonly entryAddress: bigint;
}): Uint8Array<ArrayBuffer> {
  const { bytes, loadAddress, entryAddress } = kernel;
  const pvhEntry = findPvhEntry(bytes);
  if (pvhEntry === undefined) {
    throw new HutchError("part_missing", "Cannot use the kernel in libkrunfw: it has no PVH note", {
      hint: "install libkrunfw 5 for x86-64",
    });
  }
  const elf = new Uint8Array(PAGE + bytes.length);
  const view = new DataView(elf.buffer);
  const headerSize = 64;
  const programHeaderSize = 56;
  const noteOffset = headerSize + 2 * programHeaderSize;
  const noteSize = 24;

  elf.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // 64-bit, little-endian, version 1
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, entryAddress, true);
  view.setBigUint64(32, BigInt(headerSize), true); // program headers follow
  view.setUint16(52, headerSize, true);
  view.setUint16(54, programHeaderSize, true);
  view.setUint16(56, 2, true);

  segment(headerSize, 1, 7, PAGE, loadAddress, bytes.length, PAGE); // PT_LOAD, rwx
  segment(headerSize + programHeaderSize, 4, 4, noteOffset, 0n, noteSize, 4); // PT_NOTE, r

  view.setUint32(noteOffset, 4, true); // name's length
  view.setUint32(noteOffset + 4, 8, true); // value's length
  view.setUint32(noteOffset + 8, NOTE_PVH, true);
  elf.set([0x58, 0x65, 0x6e, 0], noteOffset + 12); // "Xen"
  view.setBigUint64(noteOffset + 16, pvhEntry, true);

  elf.set(bytes, PAGE);
  return elf;

  function segment(
    at: number,
    type: number,
    flags: number,
    offset: number,
    address: bigint,
    size: number,
    align: number,
  ): void {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, flags, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, address, true);
    view.setBigUint64(at + 24, address, true);
    view.setBigUint64(at + 32, BigInt(size), true);
    view.setBigUint64(at + 40, BigInt(size), true);
    view.setBigUint64(at + 48, BigInt(align), true);
  }
}

/** The 32-bit entry point in the image's own Xen note of type 18 (PHYS32_ENTRY). */
function findPvhEntry(bytes: Uint8Array): bigint | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 12; at + 12 <= bytes.length; at += 4) {
    if (view.getUint32(at, true) !== 0x006e6558) continue; // "Xen\0"
    const nameLength = view.getUint32(at - 12, true);
    const valueLength = view.getUint32(at - 8, true);
    const type = view.getUint32(at - 4, true);
    if (nameLength !== 4 || type !== NOTE_PVH) continue;
    if (valueLength === 4) return BigInt(view.getUint32(at + 4, true));
    if (valueLength === 8) return view.getBigUint64(at + 4, true);
  }
  return undefined;
}
