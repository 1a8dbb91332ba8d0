import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { decodeFile, type DecoderFormat, probeKvm, readKernel } from "../../ffi/helper.ts";
import { helperPath } from "../../ffi/library.ts";
import { SYMBOLS } from "../../ffi/symbols.ts";
import { HutchError } from "../../src/errors.ts";
import { concat } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import "../support/native.ts";

const HEADERS = fileURLToPath(import.meta.resolve("../../ffi/helper/"));
const LIBRARY = fileURLToPath(import.meta.resolve("../../ffi/library.ts"));

async function decoded(bytes: Uint8Array, format: DecoderFormat): Promise<Uint8Array> {
  await using folder = new TempFolder();
  const path = join(folder.path, "file");
  await Deno.writeFile(path, bytes);
  return concat(await Array.fromAsync(decodeFile(path, format)));
}

Deno.test("SYMBOLS has every function that a header exports, with as many parameters", async () => {
  const texts: string[] = [];
  for (const { name } of Deno.readDirSync(HEADERS)) {
    if (name.endsWith(".h")) texts.push(await Deno.readTextFile(join(HEADERS, name)));
  }
  texts.push(await Deno.readTextFile(join(HEADERS, "../child/child.h")));
  const confine = await Deno.readTextFile(join(HEADERS, "../confine/confine.h"));
  texts.push(confine.replace(/int hutch_confine\([^)]*\);/, "")); // box processes load it by itself
  const header = texts.map((text) =>
    /visibility push\(default\)[^]*visibility pop/.exec(text)?.[0] ?? ""
  ).join("").replaceAll(/\/\*[^]*?\*\//g, "");
  const declared = [...header.matchAll(/(\w+)\(([^()]*)\)\s*;/g)].map(([, name, parameters]) => ({
    name: name ?? "",
    count: parameters === "void" ? 0 : parameters?.split(",").length ?? 0,
  }));
  const bound = Object.entries(SYMBOLS).map(([name, { parameters }]) => ({
    name,
    count: parameters.length,
  }));
  const byName = (a: { name: string }, b: { name: string }) => a.name < b.name ? -1 : 1;
  assert.deepEqual(bound.sort(byName), declared.sort(byName));
});

Deno.test("helper says part_missing and the remedy when the library isn't there", async () => {
  const program = `import { helper } from ${JSON.stringify(LIBRARY)};
    try { helper(); } catch (error) { console.log(error.code, error.hint, error.message); }`;
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["eval", program],
    env: { HUTCH_HELPER: "/nowhere/libhutch.so" },
  }).output();
  const said = new TextDecoder().decode(output.stdout);
  assert.match(
    said,
    /^part_missing build it \(deno task build\).* Cannot load the helper \/nowhere/,
  );
});

Deno.test("helperPath is in build/ beside the sources", () => {
  if (Deno.env.get("HUTCH_HELPER") !== undefined) return;
  assert.ok(Deno.statSync(helperPath()).isFile);
});

Deno.test("probeKvm ends within its limits, whatever KVM there is", async () => {
  const { error, ms } = await probeKvm(20);
  if (error === undefined) assert.ok(ms < 100, `${ms}`);
  else assert.match(error, /^E[A-Z]+$/);
  assert.equal((await probeKvm(0)).error, Deno.build.os === "linux" ? "EINVAL" : "ENOENT");
});

Deno.test("decodeFile reads frames and members in a row and steps over skippable ones", async () => {
  const [a, b] = [
    crypto.getRandomValues(new Uint8Array(50_000)),
    new Uint8Array(2_000_000).fill(5),
  ];
  const both = concat([a, b]);
  const skippable = new Uint8Array([0x5f, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9]);
  const zstd = [skippable, zstdCompressSync(a), skippable, zstdCompressSync(b), skippable];
  assert.deepEqual(await decoded(concat(zstd), "zstd"), both);
  assert.deepEqual(await decoded(concat([gzipSync(a), gzipSync(b)]), "gzip"), both);
  assert.deepEqual(await decoded(zstdCompressSync(new Uint8Array()), "zstd"), new Uint8Array());
});

Deno.test("decodeFile refuses what is cut, isn't there, or isn't what it is said to be", async () => {
  const random = crypto.getRandomValues(new Uint8Array(50_000));
  const invalid = (error: unknown) => error instanceof HutchError && error.code === "invalid_image";
  await assert.rejects(decoded(zstdCompressSync(random).subarray(0, -10), "zstd"), invalid);
  const second = concat([zstdCompressSync(random), zstdCompressSync(random).subarray(0, -10)]);
  await assert.rejects(decoded(second, "zstd"), invalid);
  await assert.rejects(decoded(random, "zstd"), /isn't zstd, or cut short/);
  await assert.rejects(decoded(random, "zstd"), invalid);
  await assert.rejects(decoded(random, "gzip"), invalid);
  await assert.rejects(decoded(new Uint8Array(), "zstd"), invalid);
  await assert.rejects(Array.fromAsync(decodeFile("/nowhere", "zstd")), /ENOENT/);
});

Deno.test("decodeFile tells how much of the file it used, in all as much as there is", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "file");
  const plain = new Uint8Array(5_000_000);
  for (let at = 0; at < plain.length; at += 50_000) {
    crypto.getRandomValues(plain.subarray(at, at + 50_000));
  }
  const packed = zstdCompressSync(plain);
  await Deno.writeFile(path, packed);
  const told: number[] = [];
  const pieces = decodeFile(path, "zstd", { onRead: (bytes) => told.push(bytes) });
  assert.deepEqual(concat(await Array.fromAsync(pieces)), plain);
  assert.ok(told.filter((bytes) => bytes > 0).length > 5);
  assert.equal(told.reduce((sum, bytes) => sum + bytes, 0), packed.length);
});

Deno.test("decodeFile uses memory again, but not of the pieces that may still be read", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "file");
  const plain = new Uint8Array(8_000_000).map((_, at) => at >> 12);
  await Deno.writeFile(path, zstdCompressSync(plain));
  const kept: Uint8Array[] = [];
  const memory = new Set<ArrayBufferLike>();
  let seen = 0;
  for await (const piece of decodeFile(path, "zstd", { recycle: true })) {
    memory.add(piece.buffer);
    kept.push(piece);
    // The two before it are as they were.
    let end = seen + piece.length;
    for (const earlier of kept.slice(-3).reverse()) {
      assert.ok(Buffer.from(plain.subarray(end - earlier.length, end)).equals(earlier));
      end -= earlier.length;
    }
    seen += piece.length;
  }
  assert.equal(seen, plain.length);
  assert.ok(kept.length > 10 && memory.size === 4, `${memory.size} of ${kept.length}`);
});

Deno.test("decodeFile may be left early", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "file");
  await Deno.writeFile(path, zstdCompressSync(new Uint8Array(5_000_000)));
  for await (const piece of decodeFile(path, "zstd")) {
    assert.ok(piece.length > 0);
    break;
  }
});

const cc = needs("cc");
Deno.test({
  name: `readKernel copies the kernel out of the library${cc.note}`,
  ignore: cc.ignore,
  fn: async () => {
    await using folder = new TempFolder();
    const [source, library] = [join(folder.path, "k.c"), join(folder.path, "k.so")];
    await Deno.writeTextFile(
      source,
      `#include <stddef.h>
      #include <stdint.h>
      char *krunfw_get_kernel(uint64_t *load, uint64_t *entry, size_t *size) {
        *load = 0x1000000; *entry = 0x1000123; *size = 6; return "kernel"; }`,
    );
    await runTool("cc", "-shared", "-fPIC", "-o", library, source);
    const { bytes, loadAddress, entryAddress } = readKernel(library);
    assert.equal(new TextDecoder().decode(bytes), "kernel");
    assert.deepEqual([loadAddress, entryAddress], [0x1000000n, 0x1000123n]);
    const missing = (error: unknown) =>
      error instanceof HutchError && error.code === "part_missing";
    assert.throws(() => readKernel(join(folder.path, "nothing")), missing);
    assert.throws(() => readKernel(source), missing);
    assert.throws(() => readKernel(helperPath()), missing);
  },
});
