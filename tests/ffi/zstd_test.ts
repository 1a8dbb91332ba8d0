/** Frames against zstd's own program, and frames that lie. */
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "../../ffi/build.ts";
import { ZstdCoder } from "../../ffi/zstd.ts";
import { fc } from "../deps.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";
import "../support/native.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { ignore, note } = needs("zstd");
const ROUNDS = Number(Deno.env.get("FUZZ_ROUNDS") ?? 3000);
const SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const MIB = 2 ** 20;

/** Bytes of which some repeat. */
function bytesOf(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed;
  return Uint8Array.from({ length }, (_, at) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return at % 3 === 0 ? state >>> 24 : at & 0x7f;
  });
}

async function packed(plain: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  using coder = new ZstdCoder();
  return await coder.pack(plain, new Uint8Array(ZstdCoder.room(plain.length)));
}

Deno.test(`ZstdCoder writes frames that zstd reads, and reads zstd's${note}`, {
  ignore,
}, async () => {
  await using folder = new TempFolder(MEMORY);
  const path = (name: string) => join(folder.path, name);
  const [plain, frame, back] = [path("plain"), path("frame"), path("back")] as const;
  const kinds = fc.oneof(
    fc.uint8Array({ maxLength: 1000 }).map((bytes) => new Uint8Array(bytes)),
    fc.integer({ min: 0, max: 300_000 }).map((length) => bytesOf(length)),
    fc.integer({ min: 0, max: 300_000 }).map((length) => new Uint8Array(length)),
  );
  using coder = new ZstdCoder();
  await fc.assert(
    fc.asyncProperty(kinds, fc.integer({ min: 1, max: 9 }), async (bytes, level) => {
      await Deno.writeFile(plain, bytes);
      await Deno.writeFile(frame, await packed(bytes));
      await runTool("zstd", "-d", "-q", "-f", "-o", back, frame);
      assert.deepEqual(await Deno.readFile(back), bytes);
      await runTool("zstd", `-${level}`, "-q", "-f", "-o", frame, plain);
      assert.deepEqual(
        await coder.unpack(await Deno.readFile(frame), new Uint8Array(bytes.length)),
        bytes,
      );
    }),
    { numRuns: 12 },
  );
  const listed = await runTool("zstd", "-l", "-v", frame);
  assert.match(listed, /Check: XXH64/);
});

Deno.test("ZstdCoder works beside others, and is closed while it works", async () => {
  const plain = bytesOf(4 * MIB);
  const frames = await Promise.all([1, 2, 3].map((seed) => packed(bytesOf(MIB, seed))));
  const each = frames.map(async (frame, index) => {
    using coder = new ZstdCoder();
    const bytes = await coder.unpack(frame, new Uint8Array(MIB));
    assert.deepEqual(bytes, bytesOf(MIB, index + 1));
  });
  await Promise.all(each);
  const coder = new ZstdCoder();
  const working = coder.pack(plain, new Uint8Array(ZstdCoder.room(plain.length)));
  await assert.rejects(coder.unpack(plain, plain), TypeError);
  coder[Symbol.dispose]();
  coder[Symbol.dispose]();
  const frame = await working;
  await assert.rejects(coder.unpack(frame, plain), TypeError);
  using other = new ZstdCoder();
  assert.equal(await other.unpack(frame, new Uint8Array(plain.length - 1)), undefined);
});

Deno.test("hutch_zstd_unpack bears any frame, and takes no memory for what it says", async () => {
  await using folder = new TempFolder(MEMORY);
  const output = join(ROOT, "build", "fuzz-zstd");
  await buildTarget({
    output,
    sources: [
      join(ROOT, "ffi", "helper"),
      join(ROOT, "ffi", "copy"),
      join(ROOT, "tests", "ffi", "zstd_fuzz"),
    ],
    headers: [join(ROOT, "ffi"), join(ROOT, "ffi", "helper")],
    flags: ["-std=gnu11", "-Wall", "-Wextra", "-Werror", ...SANITIZED],
    libraries: ["-lext2fs", "-lcom_err", "-larchive", "-lzstd", "-ldl"],
  });
  const seeds = [
    new Uint8Array(),
    new Uint8Array(40_000),
    bytesOf(100),
    bytesOf(60_000),
    new TextEncoder().encode("word ".repeat(9000)),
  ];
  const paths: string[] = [];
  for (const [index, seed] of seeds.entries()) {
    const path = join(folder.path, `${index}`);
    await Deno.writeFile(path, seed);
    paths.push(path);
  }
  const { code, stdout, stderr } = await new Deno.Command(output, {
    args: [`${ROUNDS}`, ...paths],
    env: { ASAN_OPTIONS: "detect_leaks=1:max_allocation_size_mb=16" },
  }).output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  assert.match(said, /^\d+ unpacked, [1-9]\d* refused\n$/);
});
