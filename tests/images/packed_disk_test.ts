import assert from "node:assert/strict";
import { join } from "node:path";
import { type DiskContent, packDisk } from "../../src/images/base_disk/pack_disk.ts";
import { checkPackedDisk } from "../../src/images/base_disk/packed_disk.ts";
import { digestOf } from "../../src/images/digest.ts";
import { contentOf } from "../support/disks.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const CLUSTER = 65536;
const { ignore, note } = needs("qemu-img");
const FOREVER = new AbortController().signal;

/** A disk with these pieces, and zeros elsewhere. */
function disk(sizeBytes: number, pieces: Readonly<Record<number, Uint8Array>>): DiskContent {
  const at = Object.entries(pieces).map(([at, bytes]) => ({ at: Number(at), bytes }));
  return {
    name: "disk test",
    sizeBytes,
    read(offset, into) {
      assert.ok(offset >= 0 && offset + into.length <= sizeBytes, "read outside of the disk");
      into.fill(0);
      for (const { at: start, bytes } of at) {
        const from = Math.max(start, offset);
        const to = Math.min(start + bytes.length, offset + into.length);
        if (from < to) into.set(bytes.subarray(from - start, to - start), from - offset);
      }
      return Promise.resolve();
    },
    nextData(offset) {
      const ends = at.filter(({ at, bytes }) => at + bytes.length > offset)
        .map(({ at }) => Math.max(at, offset));
      return Promise.resolve(Math.min(sizeBytes, ...ends));
    },
  };
}

function ones(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).map((_, index) => index % 250 + 1);
}

async function pack(content: DiskContent, path: string): Promise<void> {
  const packed = await packDisk(content);
  const bytes = new Uint8Array(await new Response(packed.stream(FOREVER)).arrayBuffer());
  assert.deepEqual([bytes.length, digestOf(bytes)], [packed.size, packed.digest]);
  await Deno.writeFile(path, bytes);
}

for (
  const [what, sizeBytes, pieces] of [
    ["an empty disk", 512, {}],
    ["a disk of one sector", 512, { 0: ones(512) }],
    ["a disk that ends within a cluster", 3 * CLUSTER + 512, {
      [CLUSTER - 1]: ones(2),
      [3 * CLUSTER]: ones(512),
    }],
    ["a disk with holes of many tables", 3 * 2 ** 30, {
      0: ones(1),
      [2 ** 29 - 1]: ones(2),
      [3 * 2 ** 30 - 512]: ones(512),
    }],
    ["a full disk", 9 * 2 ** 20, { 0: ones(9 * 2 ** 20) }],
  ] as const
) {
  Deno.test(`packDisk gives ${what} to QEMU as it was${note}`, { ignore }, async () => {
    await using folder = new TempFolder();
    const path = join(folder.path, "packed");
    const content = disk(sizeBytes, pieces);
    await pack(content, path);
    assert.match(await runTool("qemu-img", "check", "-f", "qcow2", path), /No errors were found/);
    assert.equal(await checkPackedDisk(path), sizeBytes);
    if (sizeBytes > 2 ** 30) {
      const raw = join(folder.path, "raw");
      using file = await Deno.open(raw, { create: true, write: true });
      await file.truncate(sizeBytes);
      for (const [at, bytes] of Object.entries(pieces)) {
        await file.seek(Number(at), Deno.SeekMode.Start);
        assert.equal(await file.write(bytes), bytes.length);
      }
      await runTool("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path);
      return;
    }
    const expected = new Uint8Array(sizeBytes);
    await content.read(0, expected);
    assert.equal(digestOf(await contentOf(path, "qcow2", folder.path)), digestOf(expected));
  });
}

Deno.test("packDisk takes nothing for what is zero, wherever it comes from", async () => {
  const sparse = disk(2 ** 40, { [2 ** 39]: ones(10) });
  const written = disk(2 ** 40, { 5: new Uint8Array(10_000_000), [2 ** 39]: ones(10) });
  const packed = await packDisk(sparse);
  assert.equal((await packDisk(written)).digest, packed.digest);
  assert.ok(packed.size <= 8 * CLUSTER, `${packed.size} bytes`);
});

Deno.test("packDisk refuses more than it may take, and stops when it is cancelled", async () => {
  const content = disk(2 ** 30, { 0: ones(3 * CLUSTER) });
  await packDisk(content, { maxBytes: 3 * CLUSTER });
  await assert.rejects(packDisk(content, { maxBytes: 2 * CLUSTER }), { code: "limit_exceeded" });
  await assert.rejects(packDisk(content, { signal: AbortSignal.abort() }), { code: "cancelled" });
  for (const size of [0, -512, 100, NaN, 2 ** 44 + 512]) {
    await assert.rejects(packDisk(disk(size, {})), { code: "invalid_image" });
  }
});

Deno.test("packDisk tells of a disk that changes between its readings", async () => {
  let looks = 0;
  const content: DiskContent = {
    ...disk(2 ** 20, { 0: ones(10) }),
    check: () => ++looks < 3 ? Promise.resolve() : Promise.reject(new Error("changed")),
  };
  const packed = await packDisk(content);
  await assert.rejects(new Response(packed.stream(FOREVER)).arrayBuffer(), /changed/);
});

Deno.test("checkPackedDisk takes nothing but the one form", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "packed");
  await pack(disk(2 ** 30, { 0: ones(10), [2 ** 29 + 7]: ones(CLUSTER) }), path);
  const good = await Deno.readFile(path);
  const data = good.length - 3 * CLUSTER;
  const refused = async (bytes: Uint8Array, what: string) => {
    await Deno.writeFile(path, bytes);
    const error = await checkPackedDisk(path).then(() => undefined, (error: unknown) => error);
    const said = error instanceof Error && "code" in error ? error.code : error;
    assert.equal(said, "invalid_image", what);
  };
  // Every field of the header, and a good part of the tables.
  const places = Array.from({ length: 112 }, (_, at) => at)
    .concat(Array.from({ length: 200 }, (_, index) => index * 2991 % data));
  {
    using file = await Deno.open(path, { write: true });
    const put = async (at: number, byte: number) => {
      await file.seek(at, Deno.SeekMode.Start);
      assert.equal(await file.write(new Uint8Array([byte])), 1);
    };
    for (const at of places) {
      const was = good[at] ?? 0;
      await put(at, was ^ (at % 2 === 0 ? 1 : 128));
      await assert.rejects(checkPackedDisk(path), { code: "invalid_image" }, `byte ${at}`);
      await put(at, was);
    }
  }
  assert.equal(await checkPackedDisk(path), 2 ** 30);
  await refused(good.subarray(0, good.length - 1), "cut by a byte");
  await refused(good.subarray(0, good.length - CLUSTER), "cut by a cluster");
  await refused(new Uint8Array([...good, 0]), "one more byte");
  for (const length of [0, 1, 100, CLUSTER]) await refused(good.subarray(0, length), `${length}`);
  const random = good.slice(0, CLUSTER * 3);
  for (let round = 0; round < 50; round++) {
    crypto.getRandomValues(random.subarray(4, 4 + 200));
    await refused(random, "random header");
  }
});
