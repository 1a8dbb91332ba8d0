import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../mod.ts";
import { changedBlocks } from "../../src/disk/changes.ts";
import { mergeOverlays } from "../../src/disk/merge.ts";
import { Overlay } from "../../src/disk/overlay.ts";
import { createOverlay } from "../../src/disk/qcow2.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const qemu = needs("qemu-img", "qemu-io");
const MIB = 2 ** 20;

/** `base` of 8 MiB with ones, and overlays `a` over it and `b` over that. */
async function makeChain(folder: string): Promise<void> {
  await Deno.writeFile(join(folder, "base"), new Uint8Array(8 * MIB).fill(1));
  const sizeBytes = 16 * MIB;
  await createOverlay({
    ...{ path: join(folder, "a"), backingPath: "base", backingFormat: "raw", sizeBytes },
  });
  await createOverlay({
    ...{ path: join(folder, "b"), backingPath: "a", backingFormat: "qcow2", sizeBytes },
  });
}

Deno.test(`Overlay tells what is written in it${qemu.note}`, { ignore: qemu.ignore }, async () => {
  await using folder = new TempFolder();
  await makeChain(folder.path);
  const path = join(folder.path, "b");
  {
    using empty = new Overlay(path);
    assert.equal(empty.isEmpty(), true);
    assert.equal(empty.header.sizeBytes, 16 * MIB);
    assert.equal(empty.header.backingPath, "a");
  }
  await runTool("qemu-io", "-c", "write -P 7 1M 100k", "-c", "write -z 3M 64k", path);
  using overlay = new Overlay(path);
  assert.equal(overlay.isEmpty(), false);
  const table = overlay.map().get(0);
  assert.ok(table);
  assert.deepEqual([...table.keys()].filter((n) => table[n] !== 0), [16, 17, 48]);
  assert.equal(table[48], 1);
  const bytes = new Uint8Array(65_536);
  overlay.read(table[16] ?? 0, bytes);
  assert.ok(bytes.every((byte) => byte === 7));
  assert.deepEqual(changedBlocks([path, join(folder.path, "a")]), {
    ...{ blocks: 3, blockBytes: 65_536, bytes: 3 * 65_536 },
  });
});

Deno.test(`mergeOverlays keeps what a chain has${qemu.note}`, { ignore: qemu.ignore }, async () => {
  await using folder = new TempFolder();
  const at = (name: string) => join(folder.path, name);
  await makeChain(folder.path);
  await runTool("qemu-io", "-c", "write -P 5 0 256k", "-c", "write -z 512k 64k", at("a"));
  await runTool("qemu-io", "-c", "write -P 6 64k 64k", "-c", "write -z 128k 64k", at("b"));
  await runTool("qemu-io", "-c", "write -P 0 1M 64k", "-c", "write -P 9 15M 1M", at("b"));
  await runTool("qemu-img", "convert", "-O", "raw", at("b"), at("before"));
  const { signal } = new AbortController();
  await mergeOverlays({
    path: at("merged"),
    links: [at("b"), at("a")],
    backing: { path: "base", format: "raw" },
    signal,
  });
  await runTool("qemu-img", "check", "-q", at("merged"));
  await runTool("qemu-img", "compare", "-f", "raw", "-F", "qcow2", at("before"), at("merged"));
  // It can be written to like any other.
  await runTool("qemu-io", "-c", "write -P 8 2M 1M", at("merged"));
  await runTool("qemu-img", "check", "-q", at("merged"));
  await assert.rejects(
    mergeOverlays({
      path: at("never"),
      links: [at("b"), at("a")],
      backing: { path: "base", format: "raw" },
      signal: AbortSignal.abort(new Error("enough")),
    }),
    { message: "enough" },
  );
});

Deno.test("Overlay believes nothing that leads out of its file", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "a");
  await createOverlay({ path, backingPath: "base", backingFormat: "raw", sizeBytes: 16 * MIB });
  const good = await Deno.readFile(path);
  const l1At = Number(new DataView(good.buffer).getBigUint64(40));
  const l2At = Number(new DataView(good.buffer).getBigUint64(l1At) & 0xff_ffff_ffff_fe00n);
  const lies: readonly (readonly [string, (view: DataView) => void])[] = [
    ["its magic", (view) => view.setUint32(0, 0)],
    ["its version", (view) => view.setUint32(4, 2)],
    ["its cluster size", (view) => view.setUint32(20, 9)],
    ["encryption", (view) => view.setUint32(32, 1)],
    ["unknown features", (view) => view.setBigUint64(72, 4n)],
    ["a name that is too long", (view) => view.setUint32(16, 70_000)],
    ["no name", (view) => view.setUint32(16, 0)],
    ["a name elsewhere", (view) => view.setBigUint64(8, 1n << 40n)],
    ["too many tables", (view) => view.setUint32(36, 0xffff_ffff)],
    ["too few tables", (view) => view.setBigUint64(24, 1n << 50n)],
    ["an L1 table elsewhere", (view) => view.setBigUint64(40, 1n << 40n)],
    ["an L2 table elsewhere", (view) => view.setBigUint64(l1At, 1n << 40n)],
    ["an L2 table between", (view) => view.setBigUint64(l1At, 0x10_200n)],
    ["a cluster elsewhere", (view) => view.setBigUint64(l2At, 1n << 40n)],
    ["a compressed cluster", (view) => view.setBigUint64(l2At, 1n << 62n)],
  ];
  for (const [what, lie] of lies) {
    const bytes = good.slice();
    lie(new DataView(bytes.buffer));
    await Deno.writeFile(path, bytes);
    assert.throws(
      () => {
        using overlay = new Overlay(path);
        overlay.map();
      },
      (error) => error instanceof HutchError && error.code === "state_corrupt",
      what,
    );
  }
  await Deno.writeFile(path, good.subarray(0, 100));
  assert.throws(() => new Overlay(path), { code: "state_corrupt" });
});
