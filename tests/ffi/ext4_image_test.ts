import assert from "node:assert/strict";
import { join } from "node:path";
import { Ext4Image } from "../../ffi/helper.ts";
import { HutchError } from "../../src/errors.ts";
import { checkExt4, readExt4 } from "../support/ext4.ts";
import { makeImage, summaries, writeImage } from "../support/layers.ts";
import { type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

const INDEXED = 0x1000;
const CREATED = "created";

function isError(code: string, pattern: RegExp): (error: unknown) => boolean {
  return (error) =>
    error instanceof HutchError && error.code === code && pattern.test(error.message);
}

Deno.test("Ext4Image makes single entries", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "image");
  {
    using image = Ext4Image.create(path, CREATED);
    image.mkdir("/bin", 0o755);
    image.file("/bin/init", 0o700, new TextEncoder().encode("program"));
    image.file("/empty", 0o600, new Uint8Array());
    image.symlink("/sbin", "bin");
    image.symlink("/long", `/${"x".repeat(100)}`);
    image.file("/sbin/through", 0o644, new TextEncoder().encode("a link"));
    await image.finish();
  }
  await checkExt4(path);
  assert.deepEqual(summaries(await readExt4(path)), {
    "bin": "d 755 0:0",
    "empty": 'f 600 0:0 ""',
    "sbin": "l 777 0:0 -> bin",
    "long": `l 777 0:0 -> /${"x".repeat(100)}`,
    "bin/init": 'f 700 0:0 "program"',
    "bin/through": 'f 644 0:0 "a link"',
  });
});

Deno.test("Ext4Image refuses single entries that can't be, and goes on", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "image");
  using image = Ext4Image.create(path, CREATED);
  image.mkdir("/d", 0o755);
  image.symlink("/loop", "loop");
  const bad: readonly (readonly [string, RegExp])[] = [
    ["/d", /there already/],
    ["/", /there already/],
    ["relative", /isn't absolute/],
    ["/missing/f", /folder of "\/missing\/f" is missing/],
    ["/../f", /"\.\."/],
    [`/${"n".repeat(256)}`, /longer than 255/],
    ["/zero\0byte", /zero byte/],
    ["/loop/f", /too many symbolic links/],
  ];
  for (const [name, pattern] of bad) {
    const make = [
      () => image.mkdir(name, 0o755),
      () => image.file(name, 0o644, new Uint8Array(1)),
      () => image.symlink(name, "x"),
    ];
    for (const one of make) assert.throws(one, isError("invalid_option", pattern), name);
  }
  assert.throws(() => image.symlink("/s", ""), isError("invalid_option", /0 bytes/));
  assert.throws(() => image.symlink("/s", "t".repeat(4096)), isError("invalid_option", /4096/));
  await image.finish();
  await checkExt4(path);
  assert.throws(() => image.mkdir("/late", 0o755), isError("invalid_option", /finished/));
});

Deno.test("Ext4Image.create refuses what it can't create", async () => {
  await using folder = new TempFolder();
  const taken = join(folder.path, "taken");
  await Deno.writeTextFile(taken, "mine");
  assert.throws(() => Ext4Image.create(taken, CREATED), isError("invalid_option", /EEXIST/));
  assert.equal(await Deno.readTextFile(taken), "mine");
  await Deno.symlink(join(folder.path, "elsewhere"), join(folder.path, "link"));
  assert.throws(() => Ext4Image.create(join(folder.path, "link"), CREATED), HutchError);
  assert.throws(
    () => Ext4Image.create(join(folder.path, "no", "folder"), CREATED),
    isError("invalid_option", /ENOENT/),
  );
  assert.throws(
    () => Ext4Image.create(join(folder.path, "x"), CREATED, { maxBytes: -1 }),
    isError("invalid_option", /maxBytes/),
  );
});

Deno.test("Ext4Image refuses a second call while one runs, and any after it was disposed", async () => {
  await using folder = new TempFolder();
  const image = Ext4Image.create(join(folder.path, "image"), CREATED);
  const finished = image.finish();
  assert.throws(() => image.mkdir("/d", 0o755), isError("invalid_option", /still runs/));
  image[Symbol.dispose]();
  image[Symbol.dispose]();
  await finished;
  assert.throws(() => image.mkdir("/d", 0o755), isError("invalid_option", /closed/));
});

Deno.test("Ext4Image gives the same bytes for the same layers and another UUID for another image", async () => {
  await using folder = new TempFolder();
  const many = Array.from({ length: 300 }, (_, index): TarFields => ({
    path: `d/a-longer-name-to-fill-blocks-${index}`,
    data: `${index}`.repeat(index),
    pax: { "SCHILY.xattr.user.n": "v".repeat(index) },
  }));
  const layers = [writeTar(...many), writeTar({ path: "d/.wh.a-longer-name-to-fill-blocks-7" })];
  const [a, b, c] = ["a", "b", "c"].map((name) => join(folder.path, name));
  assert(a && b && c);
  await writeImage(a, layers);
  await writeImage(b, layers, { pieceSize: 1000 });
  assert.deepEqual(await Deno.readFile(a), await Deno.readFile(b));
  {
    using image = Ext4Image.create(c, "another");
    await image.finish();
  }
  const uuid = (bytes: Uint8Array) => bytes.subarray(1024 + 104, 1024 + 120).toHex();
  assert.notEqual(uuid(await Deno.readFile(a)), uuid(await Deno.readFile(c)));
});

Deno.test("Ext4Image indexes folders with 20,000 names", async () => {
  const files = Array.from({ length: 20_000 }, (_, index): TarFields => ({ path: `d/f${index}` }));
  const entries = await makeImage([writeTar(...files)]);
  assert.equal(entries.size, 20_002);
  assert.equal((entries.get("d")?.flags ?? 0) & INDEXED, INDEXED);
});

Deno.test("Ext4Image indexes folders with two levels where one isn't enough", async () => {
  // Names of 250 bytes: 15 a block, so that 507 blocks hold under 8,000.
  const files = Array.from({ length: 9000 }, (_, index): TarFields => ({
    path: "x",
    gnuPath: `d/${`${index}`.padStart(250, "0")}`,
  }));
  const entries = await makeImage([writeTar(...files)]);
  assert.equal(entries.size, 9002);
  assert.ok((entries.get("d")?.size ?? 0) > 508 * 4096);
});

Deno.test("Ext4Image finds room for many inodes", async () => {
  const files = Array.from({ length: 40_000 }, (_, index): TarFields => ({
    path: `${index % 50}/f${index}`,
  }));
  assert.equal((await makeImage([writeTar(...files)])).size, 40_051);
});

Deno.test("Ext4Image keeps superblock copies free in images of several groups", async () => {
  const file = new Uint8Array(50 * 1024 * 1024).fill(7);
  const files = Array.from(
    { length: 9 },
    (_, index): TarFields => ({ path: `${index}`, data: file }),
  );
  const entries = await makeImage([writeTar(...files)]);
  assert.equal(entries.get("8")?.size, file.length);
  assert.equal(entries.get("8")?.blocks, file.length / 512);
});

Deno.test("Ext4Image gives the room of removed files to later layers and back to the disk", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "image");
  const file = new Uint8Array(8 * 1024 * 1024).fill(7);
  const layers = Array.from(
    { length: 8 },
    (_, index) => writeTar({ path: `f${index}`, data: file }, { path: `.wh.f${index - 1}` }),
  );
  await writeImage(path, [...layers, writeTar({ path: ".wh.f7" }, { path: "end", data: "end" })]);
  await checkExt4(path);
  assert.deepEqual(summaries(await readExt4(path)), { "end": 'f 644 0:0 "end"' });
  const { size, blocks } = await Deno.stat(path);
  assert.ok(size < 40 * 1024 * 1024, `size is ${size}`);
  assert.ok((blocks ?? 0) * 512 < 1024 * 1024, `takes ${blocks} blocks`);
});

Deno.test("Ext4Image is small for a small image", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "image");
  await writeImage(path, [writeTar({ path: "f", data: "x" })]);
  const { size, blocks } = await Deno.stat(path);
  assert.ok(size <= 20 * 1024 * 1024, `size is ${size}`);
  assert.ok((blocks ?? 0) * 512 <= 128 * 1024, `takes ${blocks} blocks`);
});
