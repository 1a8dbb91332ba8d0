/** Disks that no kernel writes, made to keep whoever reads them busy, or writing. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DiskDiff } from "../../ffi/helper.ts";
import { type Extent, FIRST_FREE, HandMadeExt4, ROOT_INODE } from "../support/ext4_by_hand.ts";
import { TempFolder } from "../support/temp.ts";
import "../support/native.ts";

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
