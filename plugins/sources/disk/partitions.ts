/**
 * Finds the file system that a box can have as its root: the disk itself, or one of its partitions.
 *
 * @module
 */
import { type DiskContent, HutchError } from "../../../mod.ts";

/** A part of a disk, in bytes. */
export interface Extent {
  readonly start: number;
  readonly length: number;
}

/** File systems that the guest's kernel can have as a root and grow. */
const ROOTS = ["ext4", "XFS", "btrfs"];

interface Partition extends Extent {
  /** As in `/dev/sda1`. */
  readonly number: number;
}

const SECTOR = 512;
const MAX_ENTRIES = 1024;
const EXTENDED = [0x05, 0x0f, 0x85];
const PROTECTIVE = 0xee;

/** What other file systems and the like begin with. */
const OTHERS: readonly { readonly what: string; readonly at: number; readonly text: string }[] = [
  { what: "encrypted (LUKS)", at: 0, text: "LUKS\xba\xbe" },
  { what: "a physical volume of LVM", at: 512, text: "LABELONE" },
  { what: "squashfs", at: 0, text: "hsqs" },
  { what: "EROFS", at: 1024, text: "\xe2\xe1\xf5\xe0" },
  { what: "an ISO 9660 disc", at: 0x8001, text: "CD001" },
];
const PROBE = 0x10090;

/**
 * Where the root file system is: all of the disk, or the largest partition with one.
 *
 * @param wanted Number of the partition to take.
 * @throws {HutchError} `invalid_image`
 */
export async function findRoot(disk: DiskContent, wanted?: number): Promise<Extent> {
  const whole = { start: 0, length: disk.sizeBytes };
  const bare = await lookAt(disk, whole);
  if (ROOTS.includes(bare) && wanted === undefined) return whole;
  const partitions = await readPartitions(disk);
  if (wanted !== undefined) {
    const chosen = partitions.find(({ number }) => number === wanted);
    const found = chosen && await lookAt(disk, chosen);
    if (chosen && found !== undefined && ROOTS.includes(found)) return chosen;
    throw invalid(
      disk,
      chosen ? `partition ${wanted} is ${found}` : `it has no partition ${wanted}`,
      partitions.length > 0 ? `it has ${numbers(partitions)}` : undefined,
    );
  }
  const looks: string[] = [];
  let best: Extent | undefined;
  for (const partition of partitions) {
    const found = await lookAt(disk, partition);
    looks.push(`${partition.number} is ${found}`);
    if (ROOTS.includes(found) && partition.length > (best?.length ?? 0)) best = partition;
  }
  if (best) return best;
  throw invalid(
    disk,
    partitions.length === 0
      ? `it is ${bare}, and has no partitions`
      : `none of its partitions can be a root: ${looks.slice(0, 16).join(", ")}`,
    "hutch boots from ext4 (or ext2, ext3), XFS and btrfs",
  );
}

/** A part of a disk as a disk. */
export function partOf(disk: DiskContent, { start, length }: Extent): DiskContent {
  return {
    name: disk.name,
    sizeBytes: length,
    read: (offset, into) => disk.read(start + offset, into),
    nextData: async (offset) => {
      const next = await disk.nextData?.(start + offset) ?? start + offset;
      return Math.min(length, next - start);
    },
    check: () => disk.check?.() ?? Promise.resolve(),
  };
}

/** One of {@link ROOTS}, or what else it is, for the message. */
async function lookAt(disk: DiskContent, { start, length }: Extent): Promise<string> {
  const bytes = new Uint8Array(PROBE);
  await disk.read(start, bytes.subarray(0, Math.min(PROBE, length)));
  const has = (at: number, text: string) =>
    String.fromCharCode(...bytes.subarray(at, at + text.length)) === text;
  const other = OTHERS.find(({ at, text }) => has(at, text));
  if (other) return other.what;
  const view = new DataView(bytes.buffer);
  const sized = (name: string, size: number) => size <= length ? name : `${name}, cut short`;
  if (has(0, "XFSB")) return sized("XFS", view.getUint32(4) * Number(view.getBigUint64(8)));
  if (has(0x10040, "_BHRfS_M")) {
    const devices = view.getBigUint64(0x10088, true);
    if (devices !== 1n) return "btrfs on several disks";
    return sized("btrfs", Number(view.getBigUint64(0x10070, true)));
  }
  return view.getUint16(1024 + 56, true) === 0xef53
    ? lookAtExt4(view, sized)
    : "nothing that hutch knows";
}

function lookAtExt4(view: DataView, sized: (name: string, size: number) => string): string {
  const incompatible = view.getUint32(1024 + 96, true);
  if ((incompatible & 8) !== 0) return "the journal of another file system";
  const high = (incompatible & 0x80) === 0 ? 0 : view.getUint32(1024 + 336, true);
  const blocks = view.getUint32(1024 + 4, true) + high * 2 ** 32;
  return sized("ext4", blocks * 1024 * 2 ** view.getUint32(1024 + 24, true));
}

async function readPartitions(disk: DiskContent): Promise<readonly Partition[]> {
  if (disk.sizeBytes < 2 * SECTOR) return [];
  const sector = new Uint8Array(SECTOR);
  await disk.read(SECTOR, sector);
  if (String.fromCharCode(...sector.subarray(0, 8)) === "EFI PART") {
    return await readGpt(disk, new DataView(sector.buffer));
  }
  await disk.read(0, sector);
  const view = new DataView(sector.buffer);
  if (view.getUint16(510) !== 0x55aa) return [];
  return [0, 1, 2, 3].flatMap((index) => {
    const at = 446 + 16 * index;
    const type = view.getUint8(at + 4);
    if (type === 0 || type === PROTECTIVE || EXTENDED.includes(type)) return [];
    const [first, count] = [view.getUint32(at + 8, true), view.getUint32(at + 12, true)];
    return partition(disk, index + 1, first, count);
  });
}

async function readGpt(disk: DiskContent, header: DataView): Promise<readonly Partition[]> {
  const first = Number(header.getBigUint64(72, true));
  const count = header.getUint32(80, true);
  const size = header.getUint32(84, true);
  const sound = first >= 2 && count <= MAX_ENTRIES && size >= 128 && size <= 4096 &&
    size % 128 === 0 && first * SECTOR + count * size <= disk.sizeBytes;
  if (!sound) throw invalid(disk, "its partition table is damaged");
  const table = new Uint8Array(count * size);
  await disk.read(first * SECTOR, table);
  const view = new DataView(table.buffer);
  return Array.from({ length: count }, (_, index) => index).flatMap((index) => {
    const at = index * size;
    const unused = view.getBigUint64(at) === 0n && view.getBigUint64(at + 8) === 0n;
    if (unused) return [];
    const from = Number(view.getBigUint64(at + 32, true));
    const last = Number(view.getBigUint64(at + 40, true));
    return partition(disk, index + 1, from, last - from + 1);
  });
}

/** None when it isn't inside of the disk. */
function partition(disk: DiskContent, number: number, first: number, count: number): Partition[] {
  const [start, length] = [first * SECTOR, count * SECTOR];
  const inside = first > 0 && count > 0 && Number.isSafeInteger(start + length) &&
    start + length <= disk.sizeBytes;
  return inside ? [{ number, start, length }] : [];
}

function numbers(partitions: readonly Partition[]): string {
  const texts = partitions.slice(0, 16).map(({ number }) => `${number}`);
  return `partition${texts.length === 1 ? "" : "s"} ${texts.join(", ")}`;
}

function invalid(disk: DiskContent, problem: string, hint?: string): HutchError {
  const options = hint === undefined ? {} : { hint };
  return new HutchError("invalid_image", `Cannot use ${disk.name}: ${problem}`, options);
}
