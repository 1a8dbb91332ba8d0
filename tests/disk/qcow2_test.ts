import assert from "node:assert/strict";
import { join } from "node:path";
import { createOverlay, overlayBytes } from "../../src/disk/qcow2.ts";
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

for (const sizeBytes of [512, 64 << 20, 10 * 2 ** 30, 512 * 2 ** 30 + 512, 16 * 2 ** 40]) {
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
      if (sizeBytes <= 2 ** 42) assert.ok((await Deno.stat(path)).size <= 256 * 1024);
    }));
}

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
  Deno.test(`overlayBytes refuses ${why}`, () => {
    const options = { path: "x", backingPath: "b", backingFormat: "raw", sizeBytes: 512 } as const;
    assert.throws(
      () => overlayBytes({ ...options, ...change }),
      (error) => error instanceof HutchError && error.code === "invalid_option",
    );
  });
}
