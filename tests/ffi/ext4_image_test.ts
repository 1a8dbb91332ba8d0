import assert from "node:assert/strict";
import { join } from "node:path";
import { Ext4Image } from "../../ffi/helper.ts";
import { HutchError } from "../../src/errors.ts";
import { checkExt4, listExt4, readExt4, readInodes } from "../support/ext4.ts";
import { makeImage, summaries, writeImage } from "../support/layers.ts";
import { concat, tarEntry, type TarFields, writeTar } from "../support/tar.ts";
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

interface Large {
  readonly name: string;
  readonly count: number;
  readonly path: (index: number) => string;
  /** Names in the image, folders and root included. */
  readonly names: number;
  readonly leastFolderSize: number;
}

const large: readonly Large[] = [
  {
    name: "indexes folders with 20,000 names",
    count: 20_000,
    path: (index) => `d/f${index}`,
    names: 20_002,
    leastFolderSize: 4096 * 2,
  },
  {
    name: "indexes folders in two levels where one isn't enough",
    count: 9000, // of 250 bytes, 15 a block: 507 blocks hold fewer
    path: (index) => `d/${`${index}`.padStart(250, "0")}`,
    names: 9002,
    leastFolderSize: 4096 * 508,
  },
  {
    name: "finds room for more inodes than a group usually has",
    count: 12_000,
    path: (index) => `${index % 50 === 0 ? "d" : index % 50}/a-name-that-fills-blocks-${index}`,
    names: 12_051,
    leastFolderSize: 4096 * 2,
  },
];

for (const { name, count, path, names, leastFolderSize } of large) {
  Deno.test(`Ext4Image ${name}`, async () => {
    await using folder = new TempFolder();
    const image = join(folder.path, "image");
    const files = Array.from({ length: count }, (_, index) => ({ path: "", gnuPath: path(index) }));
    await writeImage(image, [writeTar(...files)]);
    await checkExt4(image);
    const inodes = await listExt4(image);
    assert.equal(inodes.size, names);
    assert.ok(inodes.has(path(0)) && inodes.has(path(count - 1)));
    const [d] = (await readInodes(image, new Map([["d", inodes.get("d") ?? 0]]))).values();
    assert.equal((d?.flags ?? 0) & INDEXED, INDEXED);
    assert.ok((d?.size ?? 0) >= leastFolderSize, `size is ${d?.size}`);
  });
}

Deno.test("Ext4Image keeps superblock copies free in images of several groups", async () => {
  const file = new Uint8Array(30 * 1024 * 1024).fill(7);
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

Deno.test("Ext4Image mixes no files when layers replace and remove those of others", async () => {
  await using folder = new TempFolder();
  const image = join(folder.path, "image");
  const expected = new Map<string, string>();
  const layers = Array.from(
    { length: 10 },
    (_, layer) =>
      writeTar(...Array.from({ length: 25 }, (_, index): TarFields => {
        const [name, number] = [`f${(index * 7 + layer) % 40}`, layer * 25 + index];
        if (number % 4 === 3) {
          // Hides a lower layer's alone.
          if (expected.get(name)?.startsWith(`layer ${layer},`) !== true) expected.delete(name);
          return { path: `.wh.${name}` };
        }
        const data = `layer ${layer}, ${index}; `.repeat(number * 7919 % 20_000);
        expected.set(name, data);
        return { path: name, data };
      })),
  );
  await writeImage(image, layers);
  await checkExt4(image);
  const found = await readExt4(image);
  found.delete("");
  assert.deepEqual([...found.keys()].sort(), [...expected.keys()].sort());
  for (const [name, { content }] of found) assert.ok(content === expected.get(name), name);
});

Deno.test("Ext4Image finds room for many attributes, beyond groups with superblock copies too", async () => {
  await using folder = new TempFolder();
  const image = join(folder.path, "image");
  const count = 40_000; // a block each: through groups 0 and 1 into the next
  const entries = Array.from(
    { length: count },
    (_, index) =>
      tarEntry({
        path: `d/${index}`,
        pax: { "SCHILY.xattr.user.a": `${index}`.padStart(300, "v") },
      }),
  );
  await writeImage(image, [concat(entries)]);
  await checkExt4(image);
  const inodes = await listExt4(image);
  assert.equal(inodes.size, count + 2);
  const last = `d/${count - 1}`;
  const [file] = (await readInodes(image, new Map([[last, inodes.get(last) ?? 0]]))).values();
  assert.deepEqual(file?.attributes, { "user.a": `${count - 1}`.padStart(300, "v") });
});

Deno.test("Ext4Image is small for a small image", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "image");
  await writeImage(path, [writeTar({ path: "f", data: "x" })]);
  const { size, blocks } = await Deno.stat(path);
  assert.ok(size <= 20 * 1024 * 1024, `size is ${size}`);
  assert.ok((blocks ?? 0) * 512 <= 512 * 1024, `takes ${blocks} blocks`);
});
