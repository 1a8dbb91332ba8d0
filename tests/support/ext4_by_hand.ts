/**
 * ext4 disks that no tool makes: each structure is what the test says.
 *
 * Block 1 has the one descriptor, the inodes follow it; trees of extents take blocks from the end.
 *
 * @module
 */

/** A file's blocks in a row: the first one in the file, how many, and the first one on the disk. */
export type Extent = readonly [logical: number, count: number, start: number];

/** What an inode says. */
export interface HandMadeInode {
  /** @default {a file that its owner may read} */
  readonly mode?: number;
  /** In bytes. @default {up to the last extent's end} */
  readonly size?: number;
  /** Names that it has. @default {1} */
  readonly links?: number;
  readonly extents?: readonly Extent[];
  /** The block with its attributes. @default {0: none} */
  readonly attributes?: number;
}

const INODES = 1024;
const INODE = 256;
const TABLE = 2;
const FOLDER = 0o40755;
const LOG_MAGIC = 0xc03b3998;
/** Blocks that the tests may use: from here on. */
export const FIRST_FREE = 100;
/** The number of the uppermost folder's inode. */
export const ROOT_INODE = 2;
/** The number of the journal's inode. */
export const JOURNAL_INODE = 8;
/** Kinds of the journal's blocks. */
export const [LOG_DESCRIPTOR, LOG_COMMIT, LOG_SUPER, LOG_REVOKE] = [1, 2, 4, 5] as const;

/** A disk that is being made. */
export class HandMadeExt4 implements Disposable {
  readonly blockSize: number;
  readonly #file: Deno.FsFile;
  #tables: number;

  /** Makes an empty one; with a `journal` that is to be played, if so. */
  constructor(
    path: string,
    { blocks, blockSize = 4096, journal = false }: {
      readonly blocks: number;
      readonly blockSize?: number;
      readonly journal?: boolean;
    },
  ) {
    this.blockSize = blockSize;
    this.#tables = blocks;
    this.#file = Deno.openSync(path, { write: true, createNew: true });
    this.#file.truncateSync(blocks * blockSize);
    const head = new DataView(new ArrayBuffer(1024));
    const words: readonly (readonly [number, number])[] = [
      [0, INODES],
      [4, blocks],
      [0x18, Math.log2(blockSize / 1024)],
      [0x20, 8 * blockSize],
      [0x28, INODES],
      [0x4c, 1],
      [0x5c, journal ? 4 : 0],
      [0x60, 0x42 | (journal ? 4 : 0)],
      [0xe0, journal ? JOURNAL_INODE : 0],
    ];
    for (const [at, word] of words) head.setUint32(at, word, true);
    head.setUint16(0x38, 0xef53, true);
    head.setUint16(0x58, INODE, true);
    this.write(0, head.buffer, 1024);
    this.write(1, new Uint32Array([0, 0, TABLE]).buffer);
  }

  /** Puts bytes into a block. */
  write(block: number, bytes: ArrayBuffer, offset = 0): void {
    const rest = new Uint8Array(bytes);
    this.#file.seekSync(block * this.blockSize + offset, Deno.SeekMode.Start);
    if (this.#file.writeSync(rest) !== rest.length) throw new Error("a write was cut short");
  }

  /** Says what an inode is. */
  inode(
    number: number,
    { mode = 0o100644, size, links = 1, extents = [], attributes = 0 }: HandMadeInode,
  ): void {
    const [logical, count] = extents.at(-1) ?? [0, 0, 0];
    const bytes = size ?? (logical + count) * this.blockSize;
    const inode = new DataView(new ArrayBuffer(INODE));
    inode.setUint16(0, mode, true);
    inode.setUint32(4, bytes % 2 ** 32, true);
    inode.setUint16(0x1a, links, true);
    inode.setUint32(0x20, 0x80000, true);
    new Uint8Array(inode.buffer).set(new Uint8Array(this.#tree(extents)), 0x28);
    inode.setUint32(0x68, attributes, true);
    inode.setUint32(0x6c, Math.floor(bytes / 2 ** 32), true);
    const at = (number - 1) * INODE;
    this.write(TABLE, inode.buffer, at);
  }

  /** Makes a folder of one block. */
  folder(number: number, block: number, names: readonly (readonly [string, number])[]): void {
    this.inode(number, { mode: FOLDER, links: 2, extents: [[0, 1, block]] });
    this.write(block, this.names(names));
  }

  /** A folder's block, with a name for each inode. */
  names(names: readonly (readonly [string, number])[]): ArrayBuffer {
    const block = new DataView(new ArrayBuffer(this.blockSize));
    let at = 0;
    for (const [index, [name, inode]] of [[".", ROOT_INODE] as const, ...names].entries()) {
      const length = index === names.length
        ? this.blockSize - at
        : 8 + Math.ceil(name.length / 4) * 4;
      block.setUint32(at, inode, true);
      block.setUint16(at + 4, length, true);
      block.setUint8(at + 6, name.length);
      new TextEncoder().encodeInto(name, new Uint8Array(block.buffer, at + 8));
      at += length;
    }
    return block.buffer;
  }

  /** Makes the tables of a tree, and gives its root. */
  #tree(extents: readonly Extent[]): ArrayBuffer {
    const most = Math.floor((this.blockSize - 12) / 12);
    let depth = 0;
    let level = extents;
    while (level.length > 4) {
      const above: Extent[] = [];
      for (let at = 0; at < level.length; at += most) {
        const part = level.slice(at, at + most);
        this.write(--this.#tables, node(part, depth));
        above.push([part[0]?.[0] ?? 0, 0, this.#tables]);
      }
      level = above;
      depth++;
    }
    return node(level, depth);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** A block of the journal: its words after the magic number. */
export function logBlock(...words: readonly number[]): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(4 + words.length * 4));
  for (const [index, word] of [LOG_MAGIC, ...words].entries()) view.setUint32(index * 4, word);
  return view.buffer;
}

function node(entries: readonly Extent[], depth: number): ArrayBuffer {
  const view = new DataView(new ArrayBuffer(12 + entries.length * 12));
  view.setUint16(0, 0xf30a, true);
  view.setUint16(2, entries.length, true);
  view.setUint16(4, entries.length, true);
  view.setUint16(6, depth, true);
  for (const [index, [logical, count, start]] of entries.entries()) {
    const at = 12 + index * 12;
    view.setUint32(at, logical, true);
    if (depth > 0) view.setUint32(at + 4, start, true);
    else {
      view.setUint16(at + 4, count, true);
      view.setUint32(at + 8, start, true);
    }
  }
  return view.buffer;
}
