import assert from "node:assert/strict";
import { join } from "node:path";
import { Ext4Image, grownExt4 } from "../../ffi/helper.ts";
import { HutchError } from "../../src/errors.ts";
import { fc } from "../deps.ts";
import { checkExt4 } from "../support/ext4.ts";
import "../support/native.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";
import { runTool } from "../support/tools.ts";

const MIB = 2 ** 20;
const BLOCK = 4096;
/** What the end of a disk may leave unused: less than another group's tables take, and some room. */
const LEFT_OVER = 3 * MIB;
const GROUP = 128 * MIB;
/** What of an overlay's 256 KiB its own tables leave. */
const OVERLAY = 216 * 1024;
/** How many groups an image gets at most. */
const NEW_GROUPS = 9;

/** An image with so many MiB of files. */
async function makeImage(path: string, mebibytes: number): Promise<number> {
  using image = Ext4Image.create(path, "grown");
  image.mkdir("/d", 0o755);
  for (let n = 0; n < mebibytes; n++) image.file(`/d/${n}`, 0o644, new Uint8Array(MIB).fill(7));
  await image.finish();
  return (await Deno.stat(path)).size;
}

/** The image, on a disk of its own with what changes. */
async function makeGrown(image: string, disk: string, sizeBytes: number): Promise<number> {
  const clusters = grownExt4(image, sizeBytes);
  const pieces = clusters.flatMap(({ bytes }) =>
    Array.from(
      { length: bytes.length / BLOCK },
      (_, n) => bytes.subarray(n * BLOCK, (n + 1) * BLOCK),
    )
  ).filter((piece) => piece.some((byte) => byte !== 0));
  assert.ok(pieces.length * BLOCK <= OVERLAY, `${pieces.length} blocks for a disk of ${sizeBytes}`);
  await runTool("cp", "--sparse=always", image, disk);
  using file = await Deno.open(disk, { write: true });
  await file.truncate(sizeBytes);
  for (const { at, bytes } of clusters) {
    await file.seek(at, Deno.SeekMode.Start);
    assert.equal(await file.write(bytes), bytes.length);
  }
  await file.truncate(sizeBytes); // a last cluster may reach beyond it
  return clusters.length;
}

async function superblock(path: string): Promise<DataView> {
  using file = await Deno.open(path);
  await file.seek(1024, Deno.SeekMode.Start);
  const bytes = new Uint8Array(1024);
  await file.read(bytes);
  return new DataView(bytes.buffer);
}

for (const mebibytes of [1, 140]) {
  Deno.test(`grownExt4 gives an image with ${mebibytes} MiB room for a start on disks of any size`, async () => {
    await using folder = new TempFolder(MEMORY);
    const image = join(folder.path, "image"), disk = join(folder.path, "disk");
    const least = await makeImage(image, mebibytes);
    const before = await Deno.readFile(image);
    const most = (Math.ceil(least / GROUP) + NEW_GROUPS) * GROUP;
    const edges = (mebibytes === 1 ? [1, 2, 3, 8, 9, 10] : [2, 3]).flatMap((groups) => [
      groups * GROUP,
      groups * GROUP + MIB,
      groups * GROUP + 3 * MIB,
    ]);
    const sizes = [least + BLOCK, least + MIB, ...edges, most, most + MIB, 10 * 1024 * MIB];
    for (const size of sizes.filter((size) => size > least)) {
      assert.ok(await makeGrown(image, disk, size) > 0, `${size}`);
      await checkExt4(disk);
      const filled = (await superblock(disk)).getUint32(4, true) * BLOCK;
      const wanted = Math.min(size, most);
      assert.ok(filled <= wanted && filled > wanted - LEFT_OVER, `${filled} of ${size} bytes`);
      await Deno.remove(disk);
    }
    assert.deepEqual(await Deno.readFile(image), before);
  });
}

Deno.test("grownExt4 is empty for a disk that isn't larger, and for images that aren't ours", async () => {
  await using folder = new TempFolder(MEMORY);
  const image = join(folder.path, "image"), other = join(folder.path, "other");
  const least = await makeImage(image, 1);
  for (const size of [0, MIB, least - BLOCK, least]) assert.deepEqual(grownExt4(image, size), []);
  await runTool("mke2fs", "-q", "-t", "ext4", other, "64m");
  assert.deepEqual(grownExt4(other, 1024 * MIB), []);
  for (const bytes of [new Uint8Array(), new Uint8Array(MIB).fill(0xff)]) {
    await Deno.writeFile(other, bytes);
    assert.deepEqual(grownExt4(other, 1024 * MIB), []);
  }
  assert.throws(
    () => grownExt4(join(folder.path, "missing"), MIB),
    (error) => error instanceof HutchError && /ENOENT/.test(error.message),
  );
});

Deno.test("grownExt4 bears whatever is in an image's superblock and descriptors", async () => {
  await using folder = new TempFolder(MEMORY);
  const image = join(folder.path, "image"), changed = join(folder.path, "changed");
  await makeImage(image, 1);
  const sound = await Deno.readFile(image);
  const change = fc.record({
    at: fc.oneof(
      fc.integer({ min: 1024, max: 2047 }),
      fc.integer({ min: BLOCK, max: BLOCK + 255 }),
    ),
    value: fc.integer({ min: 0, max: 255 }),
  });
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const bytes = sound.subarray(0, 65 * BLOCK).slice();
      for (const { at, value } of changes) bytes[at] = value;
      Deno.writeFileSync(changed, bytes);
      for (const size of [256 * MIB, 10 * 1024 * MIB]) {
        for (const { at, bytes } of grownExt4(changed, size)) {
          assert.ok(at % 65536 === 0 && at < size && bytes.length === 65536, `${at}`);
        }
      }
    }),
    { seed: 1, numRuns: 500 },
  );
});
