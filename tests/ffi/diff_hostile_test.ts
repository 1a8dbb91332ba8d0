/** Disks that no kernel writes, made to keep whoever reads them busy, or writing. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DiskDiff } from "../../ffi/helper.ts";
import {
  type Extent,
  FIRST_FREE,
  HandMadeExt4,
  JOURNAL_INODE,
  LOG_COMMIT,
  LOG_DESCRIPTOR,
  LOG_REVOKE,
  LOG_SUPER,
  logBlock,
  ROOT_INODE,
} from "../support/ext4_by_hand.ts";
import { TempFolder } from "../support/temp.ts";
import "../support/native.ts";

const SAME_UUID = 2;
const LAST = 8;
/** The first inode of the tests' files. */
const FILE = 11;

async function layerOf(
  path: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<Uint8Array<ArrayBuffer>> {
  using diff = await DiskDiff.open([{ path, format: "raw" }], { signal, whole: true });
  return new Uint8Array(await new Blob(await Array.fromAsync(diff.bytes())).arrayBuffer());
}

/** Names in a tar without pax records of them, and what each holds. */
function filesIn(tar: Uint8Array<ArrayBuffer>): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (from: number, to: number) =>
    new TextDecoder().decode(tar.subarray(from, to)).split("\0")[0] ?? "";
  for (let at = 0; tar[at] !== 0 && at < tar.length;) {
    const size = Number.parseInt(text(at + 124, at + 136), 8);
    if (text(at + 156, at + 157) !== "x") {
      files.set(text(at, at + 100), tar.subarray(at + 512, at + 512 + size));
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

/** A disk with one file. */
function withFile(path: string, blocks: number, extents: readonly Extent[]): HandMadeExt4 {
  const disk = new HandMadeExt4(path, { blocks });
  disk.folder(ROOT_INODE, FIRST_FREE, [["file", FILE]]);
  disk.inode(FILE, { extents });
  return disk;
}

/** A disk whose journal is to be played, and has nothing but its head. */
function withJournal(
  path: string,
  { blocks, extents, length }: {
    readonly blocks: number;
    readonly extents: readonly Extent[];
    readonly length: number;
  },
): HandMadeExt4 {
  const disk = new HandMadeExt4(path, { blocks, journal: true });
  disk.folder(ROOT_INODE, FIRST_FREE, []);
  disk.inode(FILE, { size: 0 });
  disk.inode(JOURNAL_INODE, { mode: 0o100600, extents });
  const head = [LOG_SUPER, 0, disk.blockSize, length, 1, 1, 1, 0, 0, 1]; // it may revoke
  disk.write(extents[0]?.[2] ?? 0, logBlock(...head));
  return disk;
}

Deno.test("DiskDiff refuses a file that has blocks of the disk twice", async () => {
  await using folder = new TempFolder();
  const cases: readonly (readonly Extent[])[] = [
    [[0, 40, 110], [40, 40, 110], [80, 40, 110], [120, 40, 110]],
    [[0, 10, 150], [10, 10, 110], [20, 10, 141]],
    [[0, 1, 110], [1, 1, 112], [2, 4, 109]],
  ];
  for (const [index, extents] of cases.entries()) {
    const path = join(folder.path, `${index}`);
    withFile(path, 256, extents)[Symbol.dispose]();
    await assert.rejects(layerOf(path), {
      code: "state_corrupt",
      message: `Cannot read the box's disk: entry "file": a file has blocks of the disk twice`,
      hint: /hutch cp/,
    });
  }
});

Deno.test("DiskDiff reads a file whose extents lie in any order on the disk", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "disk");
  {
    using disk = withFile(path, 256, [[0, 2, 140], [2, 1, 142], [3, 2, 110], [5, 1, 139]]);
    for (const [index, block] of [140, 141, 142, 110, 111, 139].entries()) {
      disk.write(block, new Uint8Array(4096).fill(65 + index).buffer);
    }
  }
  const content = filesIn(await layerOf(path)).get("file");
  const expected = ["A", "B", "C", "D", "E", "F"].map((letter) => letter.repeat(4096)).join("");
  assert.equal(new TextDecoder().decode(content), expected);
});

Deno.test("DiskDiff gives no more data of files than their disk has room for", async () => {
  await using folder = new TempFolder();
  const names: readonly (readonly [string, number])[] = [["one", FILE], ["two", FILE]];
  const make = (path: string, links: number, second: number): string => {
    using disk = new HandMadeExt4(path, { blocks: 256 });
    disk.folder(ROOT_INODE, FIRST_FREE, [...names, ["three", FILE + 1]]);
    disk.inode(FILE, { links, extents: [[0, 150, 101]] });
    disk.inode(FILE + 1, { extents: [[0, second, 101]] });
    return path;
  };
  // Two names of one file are no more than one, and the other file fits.
  const sound = filesIn(await layerOf(make(join(folder.path, "sound"), 2, 106)));
  assert.deepEqual([...sound].map(([name, { length }]) => [name, length]).sort(), [
    ["./", 0],
    ["one", 150 * 4096],
    ["three", 106 * 4096],
    ["two", 0],
  ]);
  for (const [name, links, second] of [["full", 2, 107], ["alike", 1, 1]] as const) {
    await assert.rejects(layerOf(make(join(folder.path, name), links, second)), {
      code: "limit_exceeded",
      message: /entry "t(wo|hree)": up to here the files have more data than the disk has room for/,
      hint: /hutch cp/,
    });
  }
});

Deno.test("DiskDiff counts the room of a sparse file by what it holds", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "disk");
  {
    using disk = withFile(path, 256, [[1_000_000, 100, 101]]);
    disk.write(101, new TextEncoder().encode("here").buffer);
  }
  const layer = await layerOf(path);
  assert.ok(layer.length < 256 * 4096);
  assert.match(new TextDecoder().decode(layer), /GNU\.sparse\.realsize=4096409600\n.*here/s);
});

Deno.test("DiskDiff bounds attributes that files share", async () => {
  await using folder = new TempFolder();
  const make = (path: string, count: number): string => {
    using disk = new HandMadeExt4(path, { blocks: 128, blockSize: 32768 });
    const numbers = Array.from({ length: count }, (_, index) => FILE + index);
    disk.folder(ROOT_INODE, 101, numbers.map((number) => [`f${number}`, number]));
    const area = new DataView(new ArrayBuffer(32768));
    area.setUint32(0, 0xea020000, true);
    area.setUint16(32, 0x0101, true); // one letter behind "user."
    area.setUint16(34, 2768, true);
    area.setUint32(40, 30000, true);
    area.setUint8(48, 97);
    disk.write(102, area.buffer);
    for (const number of numbers) disk.inode(number, { attributes: 102 });
    return path;
  };
  assert.equal(filesIn(await layerOf(make(join(folder.path, "few"), 100))).size, 101);
  await assert.rejects(layerOf(make(join(folder.path, "many"), 300)), {
    code: "limit_exceeded",
    message: /entry "f\d+": up to here the attributes are more than the disk has room for/,
  });
});

Deno.test("DiskDiff finds each block of a log in a journal of very many pieces", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "disk");
  const length = 600_000;
  const blocks = 1_500_000; // holes, nearly all of them
  const placeOf = (number: number) => 100_000 + 2 * number;
  const extents = Array.from({ length }, (_, number): Extent => [number, 1, placeOf(number)]);
  {
    using disk = withJournal(path, { blocks, extents, length });
    const each = Math.floor((disk.blockSize - 12) / 8);
    let at = 1;
    for (; at + each + 4 < length; at += each + 1) {
      const tags = Array.from({ length: each }, (_, index) => [placeOf(at + index) + 1, SAME_UUID]);
      disk.write(
        placeOf(at),
        logBlock(LOG_DESCRIPTOR, 1, ...tags.slice(0, -1).flat(), placeOf(at) + 1, SAME_UUID | LAST),
      );
    }
    // The last one has something that shows.
    disk.write(placeOf(at), logBlock(LOG_DESCRIPTOR, 1, FIRST_FREE, SAME_UUID | LAST));
    disk.write(placeOf(at + 1), disk.names([["late", FILE]]));
    disk.write(placeOf(at + 2), logBlock(LOG_COMMIT, 1));
  }
  const before = performance.now();
  assert.deepEqual([...filesIn(await layerOf(path)).keys()], ["./", "late"]);
  // Less than a second; minutes, where each block is looked for from the first piece on.
  assert.ok(performance.now() - before < 30_000);
});

Deno.test("DiskDiff refuses journals that no kernel writes", async () => {
  await using folder = new TempFolder();
  const open = (name: string, options: Partial<Parameters<typeof withJournal>[1]> = {}) =>
    withJournal(join(folder.path, name), {
      blocks: 256,
      extents: [[0, 50, 150]],
      length: 50,
      ...options,
    });
  const refused = async (name: string, message: RegExp) =>
    await assert.rejects(layerOf(join(folder.path, name)), { code: "state_corrupt", message });
  open("long", { length: 257 })[Symbol.dispose]();
  await refused("long", /its journal's sizes can't be right/);
  const twice = Array.from({ length: 50 }, (_, number): Extent => [number, 1, number ? 151 : 150]);
  open("twice", { extents: twice })[Symbol.dispose]();
  await refused("twice", /a file has blocks of the disk twice/);
  {
    using disk = open("revoked");
    disk.write(151, logBlock(LOG_REVOKE, 1, 20, 256));
  }
  await refused("revoked", /its journal names a block behind the end/);
  {
    using disk = open("sound");
    disk.write(151, logBlock(LOG_REVOKE, 1, 20, 255));
    disk.write(152, logBlock(LOG_DESCRIPTOR, 1, FIRST_FREE, SAME_UUID | LAST));
    disk.write(153, disk.names([["new", FILE]]));
    disk.write(154, logBlock(LOG_COMMIT, 1));
  }
  assert.deepEqual([...filesIn(await layerOf(join(folder.path, "sound"))).keys()], ["./", "new"]);
});

Deno.test("DiskDiff can be cancelled while it reads a journal, and while its layer is read", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "journal");
  withJournal(path, { blocks: 256, extents: [[0, 50, 150]], length: 1000 })[Symbol.dispose]();
  await assert.rejects(layerOf(path), { code: "state_corrupt" });
  await assert.rejects(layerOf(path, AbortSignal.abort()), { code: "cancelled" });
  const whole = join(folder.path, "whole");
  withFile(whole, 256, [[0, 150, 101]])[Symbol.dispose]();
  const controller = new AbortController();
  using diff = await DiskDiff.open([{ path: whole, format: "raw" }], {
    signal: controller.signal,
    whole: true,
  });
  controller.abort();
  await assert.rejects(Array.fromAsync(diff.bytes()), { code: "cancelled" });
});
