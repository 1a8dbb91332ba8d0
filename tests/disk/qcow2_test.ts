import assert from "node:assert/strict";
import { join } from "node:path";
import { createOverlay, overlayContent } from "../../src/disk/qcow2.ts";
import { HutchError } from "../../src/errors.ts";

async function qemuImg(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("qemu-img", { args }).output();
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, `qemu-img ${args.join(" ")}: ${text}`);
  return text;
}

async function withFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "hutch-qcow2-" });
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const CLUSTER = 65536;
const OPTIONS = { path: "x", backingPath: "b", backingFormat: "raw", sizeBytes: 512 } as const;

/** Clusters of an overlay's tables, by what they hold. */
function tablesOf(head: Uint8Array<ArrayBuffer>) {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const run = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
  const pointers = (clusters: number[]) =>
    clusters.flatMap((cluster) =>
      run(cluster * 8192, 8192)
        .map((entry) => Number(view.getBigUint64(entry * 8) & 0xfffffffffffe00n) / CLUSTER)
        .filter((pointer) => pointer !== 0)
    );
  const refcountTable = run(Number(view.getBigUint64(48)) / CLUSTER, view.getUint32(56));
  const l1 = run(Number(view.getBigUint64(40)) / CLUSTER, Math.ceil(view.getUint32(36) / 8192));
  return { refcountTable, refcountBlocks: pointers(refcountTable), l1, l2: pointers(l1) };
}

for (const sizeBytes of [512, 64 << 20, 10 * 2 ** 30, 512 * 2 ** 30 + 512]) {
  Deno.test(`createOverlay of ${sizeBytes} bytes satisfies qemu-img`, () =>
    withFolder(async (folder) => {
      await Deno.writeFile(join(folder, "base"), new Uint8Array(1 << 20).fill(7));
      const path = join(folder, "box.qcow2");
      await createOverlay({ path, backingPath: "base", backingFormat: "raw", sizeBytes });
      assert.match(await qemuImg("check", path), /No errors were found/);
      const info = JSON.parse(await qemuImg("info", "--output=json", path));
      assert.equal(info["virtual-size"], sizeBytes);
      assert.equal(info["backing-filename"], "base");
      assert.equal(info["backing-filename-format"], "raw");
      const { blocks } = await Deno.stat(path);
      assert.ok((blocks ?? 0) * 512 <= 256 * 1024);
    }));
}

// Above 4 TiB the L1 table has several clusters, from 16 TiB on the refcount table as well.
for (const sizeBytes of [512, 4 * 2 ** 40, 4 * 2 ** 40 + 512, 16 * 2 ** 40, 64 * 2 ** 40]) {
  Deno.test(`overlayContent of ${sizeBytes} bytes has all tables, each in clusters of its own`, () => {
    const { head, length } = overlayContent({ ...OPTIONS, sizeBytes });
    const tables = tablesOf(head);
    assert.equal(tables.l2.length, Math.ceil(sizeBytes / (8192 * CLUSTER)));
    const clusters = length / CLUSTER;
    const spare = tables.refcountBlocks.length * (CLUSTER / 2) - clusters - sizeBytes / CLUSTER;
    assert.ok(spare * CLUSTER >= 2 ** 31, `${spare} clusters more than the disk's can be counted`);
    // Together they are the whole file, and nothing is twice.
    const used = [0, ...Object.values(tables).flat()];
    assert.deepEqual(used.toSorted((a, b) => a - b), Array.from({ length: clusters }, (_, i) => i));
    const counts = new DataView(head.buffer, (tables.refcountBlocks[0] ?? 0) * CLUSTER);
    assert.ok(used.every((cluster) => counts.getUint16(cluster * 2) === 1), "each counts once");
    assert.equal(counts.byteLength % CLUSTER, 0);
    assert.ok(new Uint8Array(head.buffer, counts.byteOffset + clusters * 2).every((b) => b === 0));
  });
}

// What libkrun does to new tables doesn't outlive a kill: there must never be one.
Deno.test("createOverlay leaves no table to be made, wherever the disk is written", () =>
  withFolder(async (folder) => {
    await Deno.writeFile(join(folder, "base"), new Uint8Array(1 << 20).fill(7));
    const path = join(folder, "box.qcow2");
    const sizeBytes = 3 * 2 ** 30;
    await createOverlay({ path, backingPath: "base", backingFormat: "raw", sizeBytes });
    const before = (await Deno.readFile(path)).subarray(0, 3 * CLUSTER);
    const writes = Array.from({ length: 48 }, (_, i) => ["-c", `write ${i * 64}M 4k`]).flat();
    const { code, stderr } = await new Deno.Command("qemu-io", {
      args: ["--cache", "unsafe", ...writes, path],
    }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    assert.match(await qemuImg("check", path), /No errors were found/);
    using file = await Deno.open(path);
    const after = new Uint8Array(before.length);
    assert.equal(await file.read(after), after.length);
    assert.deepEqual(tablesOf(after), tablesOf(before));
  }));

Deno.test("createOverlay shows what it holds from the start, at its place", () =>
  withFolder(async (folder) => {
    const base = new Uint8Array(1 << 20).map((_, i) => i % 251);
    await Deno.writeFile(join(folder, "base"), base);
    const path = join(folder, "box.qcow2");
    const sizeBytes = (513 << 20) + 512; // the second table, and the end amid a cluster
    const places = [2 * CLUSTER, 3 * CLUSTER, 512 << 20, 513 << 20];
    const clusters = places.map((at, n) => {
      const bytes = new Uint8Array(CLUSTER);
      if (n !== 1) bytes.fill(n + 1, 0, 512).fill(n + 1, 5 * 4096, 7 * 4096); // the other is zero
      return { at, bytes };
    });
    const options = { path, backingPath: "base", backingFormat: "raw", sizeBytes } as const;
    await createOverlay({ ...options, clusters });
    assert.match(await qemuImg("check", path), /No errors were found/);
    await qemuImg("convert", "-O", "raw", path, join(folder, "flat"));
    using flat = await Deno.open(join(folder, "flat"));
    for (const { at, bytes } of [...clusters, { at: 0, bytes: base.subarray(0, 2 * CLUSTER) }]) {
      const found = new Uint8Array(Math.min(bytes.length, sizeBytes - at));
      await flat.seek(at, Deno.SeekMode.Start);
      for (let done = 0; done < found.length;) {
        done += await flat.read(found.subarray(done)) ?? found.length;
      }
      assert.deepEqual(found, bytes.subarray(0, found.length), `${at}`);
    }
    const taken = ((await Deno.stat(path)).blocks ?? 0) * 512;
    assert.ok(taken <= 320 * 1024, `${taken} bytes: what is zero isn't written`);

    const wrong = [{ at: 1, bytes: new Uint8Array(CLUSTER) }, { at: 0, bytes: new Uint8Array(1) }];
    for (const each of [...wrong, { at: 1 << 30, bytes: new Uint8Array(CLUSTER) }]) {
      const other = join(folder, `wrong-${each.at}-${each.bytes.length}`);
      await assert.rejects(createOverlay({ ...options, path: other, clusters: [each] }), TypeError);
    }
  }));

Deno.test("createOverlay shows the base's bytes and keeps writes to itself", () =>
  withFolder(async (folder) => {
    const base = new Uint8Array(1 << 20).map((_, i) => i % 251);
    await Deno.writeFile(join(folder, "base"), base);
    const path = join(folder, "box.qcow2");
    await createOverlay({
      path,
      backingPath: "base",
      backingFormat: "raw",
      sizeBytes: 8 << 20,
    });
    const write = await new Deno.Command("qemu-io", {
      args: ["-c", "write -P 9 65536 4096", "-c", "write -P 8 6291456 4096", path],
    }).output();
    assert.equal(write.code, 0, new TextDecoder().decode(write.stderr));
    assert.match(await qemuImg("check", path), /No errors were found/);
    await qemuImg("convert", "-O", "raw", path, join(folder, "flat"));
    const flat = await Deno.readFile(join(folder, "flat"));
    const expected = new Uint8Array(8 << 20);
    expected.set(base);
    expected.fill(9, 65536, 65536 + 4096);
    expected.fill(8, 6291456, 6291456 + 4096);
    assert.deepEqual(flat, expected);
    assert.deepEqual(await Deno.readFile(join(folder, "base")), base);
  }));

Deno.test("createOverlay refuses to overwrite", () =>
  withFolder(async (folder) => {
    const path = join(folder, "box.qcow2");
    await Deno.writeTextFile(path, "mine");
    await assert.rejects(
      createOverlay({ path, backingPath: "base", backingFormat: "raw", sizeBytes: 512 }),
      Deno.errors.AlreadyExists,
    );
    assert.equal(await Deno.readTextFile(path), "mine");
  }));

for (
  const [why, change] of [
    ["a size that isn't a multiple of 512", { sizeBytes: 1000 }],
    ["a size of zero", { sizeBytes: 0 }],
    ["a negative size", { sizeBytes: -512 }],
    ["a size that isn't a number", { sizeBytes: NaN }],
    ["a size over 64 TiB", { sizeBytes: 2 ** 47 }],
    ["an empty backing path", { backingPath: "" }],
    ["a backing path of 1024 bytes", { backingPath: "a".repeat(1024) }],
  ] as const
) {
  Deno.test(`overlayContent refuses ${why}`, () => {
    assert.throws(
      () => overlayContent({ ...OPTIONS, ...change }),
      (error) => error instanceof HutchError && error.code === "invalid_option",
    );
  });
}
