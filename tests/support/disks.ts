/**
 * Disks for tests, made with e2fsprogs and QEMU's tools.
 *
 * @module
 */
import { join } from "node:path";
import { runTool } from "./tools.ts";

/** What most of them need. */
export const DISK_TOOLS: readonly string[] = ["mke2fs", "qemu-img"];

/** Makes a raw disk with an ext4 file system that holds a folder's files. */
export async function makeExt4(
  path: string,
  root: string,
  { mebibytes = 16, type = "ext4" }: { readonly mebibytes?: number; readonly type?: string } = {},
): Promise<string> {
  // deno-fmt-ignore
  await runTool("mke2fs", "-q", "-t", type, "-d", root, "-E", "root_owner=0:0,hash_seed=00000000-0000-4000-8000-000000000000",
    "-U", "00000000-0000-4000-8000-000000000000", path, `${mebibytes}m`);
  return path;
}

/** Converts a raw disk to qcow2; `options` are those of `-o`. */
export async function toQcow2(
  raw: string,
  path: string,
  { options = [], compress = false }: {
    readonly options?: readonly string[];
    readonly compress?: boolean;
  } = {},
): Promise<string> {
  const own = options.length > 0 ? ["-o", options.join()] : [];
  const how = [...compress ? ["-c"] : [], ...own];
  await runTool("qemu-img", "convert", "-f", "raw", "-O", "qcow2", ...how, raw, path);
  return path;
}

/** The content of a disk, by QEMU's own reader. */
export async function contentOf(path: string, format: string, folder: string): Promise<Uint8Array> {
  const flat = join(folder, `flat-${crypto.randomUUID()}`);
  await runTool("qemu-img", "convert", "-f", format, "-O", "raw", path, flat);
  return await Deno.readFile(flat);
}

/** A partition, in sectors of 512 bytes. */
export interface TestPartition {
  readonly first: number;
  readonly content: Uint8Array;
  /** Of an MBR. @default {0x83} */
  readonly type?: number;
}

/** A raw disk with a partition table. */
export function partitioned(
  kind: "gpt" | "mbr",
  sectors: number,
  partitions: readonly TestPartition[],
): Uint8Array<ArrayBuffer> {
  const disk = new Uint8Array(sectors * 512);
  const view = new DataView(disk.buffer);
  view.setUint16(510, 0x55aa);
  if (kind === "gpt") {
    view.setUint8(446 + 4, 0xee);
    view.setUint32(446 + 8, 1, true);
    view.setUint32(446 + 12, sectors - 1, true);
    disk.set(new TextEncoder().encode("EFI PART"), 512);
    view.setBigUint64(512 + 72, 2n, true);
    view.setUint32(512 + 80, 128, true);
    view.setUint32(512 + 84, 128, true);
  }
  for (const [index, { first, content, type = 0x83 }] of partitions.entries()) {
    const count = content.length / 512;
    disk.set(content, first * 512);
    if (kind === "gpt") {
      disk.fill(7, 1024 + index * 128, 1024 + index * 128 + 16);
      view.setBigUint64(1024 + index * 128 + 32, BigInt(first), true);
      view.setBigUint64(1024 + index * 128 + 40, BigInt(first + count - 1), true);
    } else {
      view.setUint8(446 + index * 16 + 4, type);
      view.setUint32(446 + index * 16 + 8, first, true);
      view.setUint32(446 + index * 16 + 12, count, true);
    }
  }
  return disk;
}
