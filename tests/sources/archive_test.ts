/**
 * Archives read in place: any that can be written, and any bytes at all.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { ArchiveFile } from "../../plugins/sources/archive/file.ts";
import { TarIndex } from "../../plugins/sources/archive/tar_index.ts";
import { HutchError } from "../../src/errors.ts";
import { digestOf } from "../../src/images/digest.ts";
import { fc } from "../deps.ts";
import { someBytes } from "../support/fake_registry.ts";
import "../support/native.ts";
import { type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const FOREVER = new AbortController().signal;

/** Opens bytes as an archive. */
async function withArchive<T>(
  bytes: Uint8Array,
  run: (file: ArchiveFile) => Promise<T>,
): Promise<T> {
  await using folder = new TempFolder();
  const path = join(folder.path, "archive");
  await Deno.writeFile(path, bytes);
  using file = await ArchiveFile.open(path, FOREVER);
  return await run(file);
}

const NAME = fc.string({ unit: "grapheme", minLength: 1, maxLength: 60 })
  .map((text) => text.replaceAll(/[\0/\p{Cs}]/gu, "_").replace(/^\.+$/, "_"));
const PATH = fc.array(NAME, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const FILES = fc.uniqueArray(
  fc.record({
    path: PATH,
    size: fc.nat(2000),
    how: fc.constantFrom("pax", "gnu", "dotted", "plain"),
    sizeInPax: fc.boolean(),
  }),
  { selector: ({ path }) => path, maxLength: 20 },
);

Deno.test("TarIndex finds every file of any archive, where it is", async () => {
  const text = new TextEncoder();
  const raw = (path: string) => String.fromCharCode(...text.encode(path));
  await fc.assert(
    fc.asyncProperty(FILES, async (files) => {
      const fields = files.map(({ path, size, how, sizeInPax }, seed): TarFields => ({
        path: `plain ${seed}`,
        data: someBytes(size, seed + 1),
        ...(how === "gnu" ? { gnuPath: raw(path) } : {}),
        pax: {
          ...(how === "pax" ? { path: raw(path) } : {}),
          ...(how === "dotted" ? { path: raw(`./${path}`) } : {}),
          ...(sizeInPax ? { size: String(size) } : {}),
        },
        ...(sizeInPax ? { size: 0 } : {}),
      }));
      await withArchive(writeTar(...fields), async (archive) => {
        const index = await TarIndex.read(archive, FOREVER);
        for (const [seed, { size, how, ...file }] of files.entries()) {
          const path = how === "plain" ? `plain ${seed}` : file.path;
          const found = index.find(path);
          assert.equal(found?.size, size, path);
          const bytes = await archive.read(found.offset, size);
          assert.equal(digestOf(bytes), digestOf(someBytes(size, seed + 1)), path);
        }
        assert.equal(index.find("no such name/\u0001"), undefined);
      });
    }),
    { numRuns: 60 },
  );
});

Deno.test("TarIndex takes any bytes, or refuses them, and soon", async () => {
  const whole = writeTar(
    { path: "a", data: "hello", pax: { path: "x".repeat(200) } },
    { path: "b", type: "2", link: "a" },
    { path: "c", gnuPath: "y".repeat(300), data: "z".repeat(600) },
  );
  const change = fc.tuple(fc.nat(whole.length - 1), fc.nat(255));
  const bytes = fc.oneof(
    fc.array(change, { minLength: 1, maxLength: 8 }).map((changes) => {
      const changed = whole.slice();
      for (const [at, byte] of changes) changed[at] = byte;
      return changed;
    }),
    fc.nat(whole.length).map((length) => whole.slice(0, length)),
    fc.uint8Array({ maxLength: 2000 }),
  );
  await fc.assert(
    fc.asyncProperty(bytes, async (bytes) => {
      try {
        await withArchive(bytes, async (file) => {
          const index = await TarIndex.read(file, FOREVER);
          for (const name of ["a", "b", "x".repeat(200)]) {
            const found = index.find(name);
            if (found) await file.read(found.offset, found.size);
          }
        });
      } catch (error) {
        assert.ok(error instanceof HutchError, String(error));
        assert.match(error.code, /^(?:invalid_image|limit_exceeded)$/);
      }
    }),
    { numRuns: 300 },
  );
});

Deno.test("TarIndex reads no more headers than it should, whatever they are about", async () => {
  for (const type of ["0", "5", "g"]) {
    const header = writeTar({ path: "000000", type }).slice(0, 512);
    const many = new Uint8Array(100_001 * 512);
    for (let at = 0; at < 100_001; at++) {
      if (type === "0") rename(header, String(at).padStart(6, "0"));
      many.set(header, at * 512);
    }
    await assert.rejects(withArchive(many, (file) => TarIndex.read(file, FOREVER)), {
      code: "limit_exceeded",
      message: /more than 100000 headers/,
    });
  }
});

Deno.test("TarIndex holds no more of names than it should", async () => {
  const long = "x".repeat(4000);
  const named = (type: string, name: (at: number) => Partial<TarFields>) =>
    writeTar(...Array.from({ length: 4400 }, (_, at) => ({ path: `${at}`, type, ...name(at) })));
  for (
    const archive of [
      named("0", (at) => ({ gnuPath: `${at}${long}` })),
      named("2", () => ({ gnuLink: long })),
    ]
  ) {
    await assert.rejects(withArchive(archive, (file) => TarIndex.read(file, FOREVER)), {
      code: "limit_exceeded",
      message: /names have more than/,
    });
  }
});

Deno.test("ArchiveFile serves several readers at once, from one place each", async () => {
  const bytes = someBytes(1_500_000);
  await withArchive(bytes, async (file) => {
    const starts = [0, 1, 300_000, 999_999];
    const streams = starts.map(async (start) => {
      const read = await new Response(file.stream(start, 500_000)).bytes();
      assert.ok(read.every((byte, at) => byte === bytes[start + at]), `from ${start}`);
      assert.equal(read.length, 500_000);
    });
    await Promise.all(streams);
    await assert.rejects(file.read(1_499_999, 2), { code: "invalid_image", message: /ends early/ });
    const cut = file.stream(1_400_000, 200_000);
    await assert.rejects(new Response(cut).bytes(), { code: "invalid_image" });
  });
});

async function* pieces(): AsyncGenerator<Uint8Array> {
  for (let left = 40; left > 0; left--) yield await Promise.resolve(new Uint8Array(64 * 1024));
}

Deno.test("ArchiveFile.spool stops at its limit", async () => {
  const options = { name: "an archive", signal: FOREVER };
  await assert.rejects(ArchiveFile.spool(pieces(), { ...options, limit: 2_000_000 }), {
    code: "limit_exceeded",
  });
  using whole = await ArchiveFile.spool(pieces(), { ...options, limit: 40 * 64 * 1024 });
  assert.equal(whole.size, 40 * 64 * 1024);
});

Deno.test("ArchiveFile.spool asks for no more once it is cancelled", async () => {
  const abort = new AbortController();
  let given = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (; given < 10_000; given++) {
      if (given === 3) abort.abort();
      yield await Promise.resolve(new Uint8Array(10));
    }
  }
  const spooling = ArchiveFile.spool(endless(), { name: "it", signal: abort.signal });
  await assert.rejects(spooling, { code: "cancelled" });
  assert.equal(given, 3);
});

const mount = needs("mount", "umount");
const rootNote = Deno.uid() === 0 ? "" : " (needs root)";

Deno.test({
  name: `ArchiveFile.spool says which disk is full, and leaves nothing${mount.note || rootNote}`,
  ignore: mount.ignore || rootNote !== "",
  async fn() {
    await using folder = new TempFolder();
    const before = Deno.env.get("TMPDIR");
    await runTool("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder.path);
    Deno.env.set("TMPDIR", folder.path);
    try {
      await assert.rejects(ArchiveFile.spool(pieces(), { name: "it", signal: FOREVER }), {
        code: "no_space",
        message: `Cannot unpack an image archive: ${folder.path} is full`,
        hint: /TMPDIR/,
      });
      assert.deepEqual([...Deno.readDirSync(folder.path)], []);
    } finally {
      if (before === undefined) Deno.env.delete("TMPDIR");
      else Deno.env.set("TMPDIR", before);
      await runTool("umount", folder.path);
    }
  },
});

Deno.test("ArchiveFile gives up unpacking when that is cancelled", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "archive.gz");
  await Deno.writeFile(path, gzipSync(new Uint8Array(50_000_000)));
  const abort = new AbortController();
  const opening = ArchiveFile.open(path, abort.signal);
  setTimeout(() => abort.abort(), 1);
  await assert.rejects(opening, { code: "cancelled" });
});

/** Gives a header another name of six digits, and makes its checksum right again. */
function rename(header: Uint8Array, name: string): void {
  const digits = new TextEncoder().encode(name);
  const change = digits.reduce((sum, digit, at) => sum + digit - (header[at] ?? 0), 0);
  const sum = parseInt(new TextDecoder().decode(header.subarray(148, 154)), 8) + change;
  header.set(digits, 0);
  header.set(new TextEncoder().encode(sum.toString(8).padStart(6, "0")), 148);
}
