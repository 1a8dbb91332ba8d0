import assert from "node:assert/strict";
import { join } from "node:path";
import type { ImageLimits } from "../../ffi/helper.ts";
import { HutchError } from "../../src/errors.ts";
import { readExt4 } from "../support/ext4.ts";
import { writeImage } from "../support/layers.ts";
import { concat, latin1, tarEntry, type TarFields, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";

interface Case {
  readonly name: string;
  readonly tar: Uint8Array<ArrayBuffer>;
  readonly message: RegExp;
  readonly code?: string;
  readonly limits?: ImageLimits;
}

const sparse = (map: string, size: string, data = "x"): TarFields => ({
  path: "f",
  data,
  pax: { "GNU.sparse.size": size, "GNU.sparse.map": map },
});
const sparse1 = (text: string): TarFields => ({
  path: "f",
  data: text,
  pax: { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "10" },
});
const pax = (body: string): Uint8Array<ArrayBuffer> =>
  concat([tarEntry({ path: "x", type: "x", data: body }), writeTar({ path: "f" })]);
const one = (...entries: TarFields[]): Uint8Array<ArrayBuffer> => writeTar(...entries);
const deep = Array.from({ length: 3 }, (_, index): TarFields[] => [
  { path: "x", gnuPath: `${index === 0 ? "" : `s${index - 1}/`}${"a/".repeat(1000)}a`, type: "5" },
  {
    path: `s${index}`,
    type: "2",
    gnuLink: `${index === 0 ? "" : `s${index - 1}/`}${"a/".repeat(1000)}a`,
  },
]).flat();

const cases: readonly Case[] = [
  {
    name: "a path with ..",
    tar: one({ path: "a/../../etc/x" }),
    message: /"a\/\.\.\/\.\.\/etc\/x": .*"\.\."/,
  },
  { name: "a path that is ..", tar: one({ path: ".." }), message: /"\.\."/ },
  {
    name: "a hard link to ..",
    tar: one({ path: "l", type: "1", link: "../etc/passwd" }),
    message: /"\.\."/,
  },
  {
    name: "a hard link to nothing",
    tar: one({ path: "l", type: "1", link: "/etc/passwd" }),
    message: /hard link to "\/etc\/passwd", which isn't there/,
  },
  {
    name: "a hard link to a folder",
    tar: one({ path: "d", type: "5" }, { path: "l", type: "1", link: "d" }),
    message: /hard link to a folder/,
  },
  {
    name: "a hard link into the folder it replaces",
    tar: one({ path: "d/f" }, { path: "d", type: "1", link: "d/f" }),
    message: /into what it replaces/,
  },
  { name: "a whiteout of nothing", tar: one({ path: ".wh." }), message: /whiteout of no name/ },
  { name: "a whiteout of .", tar: one({ path: ".wh.." }), message: /whiteout of no name/ },
  {
    name: "a whiteout of ..",
    tar: one({ path: "d", type: "5" }, { path: "d/.wh..." }),
    message: /whiteout of no name/,
  },
  {
    name: "a whiteout of 256 bytes",
    tar: one({ path: "x", gnuPath: `.wh.${"n".repeat(256)}` }),
    message: /whiteout of what is no name/,
  },
  {
    name: "a whiteout with a zero byte",
    tar: one({ path: "x", pax: { path: ".wh.a\0b" } }),
    message: /whiteout of what is no name/,
  },
  { name: "a whiteout as a folder", tar: one({ path: ".wh.d/f" }), message: /whiteout's name/ },
  {
    name: "a name of 256 bytes",
    tar: one({ path: "x", gnuPath: "n".repeat(256) }),
    message: /longer than 255/,
  },
  {
    name: "a path of 5,000 bytes",
    tar: one({ path: "x", gnuPath: "n/".repeat(2500) }),
    message: /longer than 4096/,
  },
  { name: "folders deeper than a path can name", tar: one(...deep), message: /folders deep/ },
  {
    name: "a loop of symbolic links",
    tar: one({ path: "a", type: "2", link: "b" }, { path: "b", type: "2", link: "a" }, {
      path: "a/f",
    }),
    message: /too many symbolic links/,
  },
  {
    name: "a file as a folder",
    tar: one({ path: "f" }, { path: "f/below" }),
    message: /"f" in its path is no folder/,
  },
  {
    name: "a root that is a file",
    tar: one({ path: "./", type: "2", link: "x" }),
    message: /root must be a folder/,
  },
  { name: "an empty target", tar: one({ path: "s", type: "2" }), message: /target has 0 bytes/ },
  {
    name: "a target of 4,096 bytes",
    tar: one({ path: "s", type: "2", gnuLink: "t".repeat(4096) }),
    message: /target has 4096 bytes/,
  },
  {
    name: "a zero byte in a path",
    tar: one({ path: "x", pax: { path: "a\0b" } }),
    message: /zero byte/,
  },
  { name: "an unknown kind", tar: one({ path: "f", type: "M" }), message: /unknown kind "M"/ },
  {
    name: "a wrong checksum",
    tar: one({ path: "f" }).map((byte, at) => at === 0 ? byte + 1 : byte),
    message: /checksum/,
  },
  { name: "rubbish", tar: latin1("rubbish!".repeat(128)), message: /no tar archive/ },
  {
    name: "a header after an empty block",
    tar: concat([new Uint8Array(512), one({ path: "f" })]),
    message: /no tar archive/,
  },
  {
    name: "half a header",
    tar: one({ path: "f" }).subarray(0, 100),
    message: /middle of an entry/,
  },
  {
    name: "half a file",
    tar: tarEntry({ path: "f", data: "x".repeat(600) }).subarray(0, 700),
    message: /middle/,
  },
  {
    name: "a file without its padding",
    tar: tarEntry({ path: "f", data: "x" }).subarray(0, 513),
    message: /middle/,
  },
  {
    name: "a lying size",
    tar: one({ path: "f", data: "x", size: 1e6 }),
    message: /middle of an entry/,
  },
  {
    name: "a long name without its entry",
    tar: tarEntry({ path: "f", gnuPath: "long" }).subarray(0, 1024),
    message: /middle/,
  },
  {
    name: "a negative size",
    tar: one({ path: "f", raw: { 124: "\xff".repeat(12) } }),
    message: /size is no valid number/,
  },
  {
    name: "a size of rubbish",
    tar: one({ path: "f", raw: { 124: "12x" } }),
    message: /size is no valid number/,
  },
  {
    name: "a huge size",
    tar: one({ path: "f", raw: { 124: "\x80\0\0\0\x7f" + "\xff".repeat(7) } }),
    message: /larger than a file/,
    code: "limit_exceeded",
  },
  {
    name: "a size beyond 64 bits",
    tar: one({ path: "f", raw: { 124: "\x80" + "\x7f".repeat(11) } }),
    message: /size is no valid number/,
  },
  {
    name: "an owner beyond 32 bits",
    tar: one({ path: "f", pax: { uid: "4294967295" } }),
    message: /owner's number is too large/,
  },
  {
    name: "a device out of range",
    tar: one({ path: "c", type: "3", major: 4096 }),
    message: /device number/,
  },
  { name: "a pax record without length", tar: pax("path=x\n"), message: /no length/ },
  { name: "a pax record that lies", tar: pax("99 path=x\n"), message: /length is wrong/ },
  { name: "a pax record that is too short", tar: pax("3 path=x\n"), message: /length is wrong/ },
  {
    name: "a pax record without value",
    tar: pax("9 nothing\n"),
    message: /length is wrong|no value/,
  },
  {
    name: "a pax time of rubbish",
    tar: one({ path: "f", pax: { mtime: "1.5x" } }),
    message: /modification time/,
  },
  {
    name: "a pax number of rubbish",
    tar: one({ path: "f", pax: { size: "-1" } }),
    message: /isn't a number/,
  },
  {
    name: "a pax header over a MiB",
    tar: one({ path: "f", pax: { comment: "c".repeat(1100000) } }),
    message: /1048576/,
    code: "limit_exceeded",
  },
  {
    name: "a broken access control list",
    tar: one({ path: "f", pax: { "SCHILY.xattr.system.posix_acl_access": "\x02\0\0\0abc" } }),
    message: /access control list/,
  },
  {
    name: "attributes over a block",
    tar: one({ path: "f", pax: { "SCHILY.xattr.user.a": "v".repeat(4096) } }),
    message: /attributes are over/,
  },
  {
    name: "a sparse map that overlaps",
    tar: one(sparse("0,1,0,0", "10")),
    message: /map doesn't fit its size/,
  },
  {
    name: "a sparse map beyond the size",
    tar: one(sparse("10,1", "10")),
    message: /map doesn't fit its size/,
  },
  {
    name: "a sparse map that overflows",
    tar: one(sparse("18446744073709551600,1", "10")),
    message: /isn't made of numbers|fit its size/,
  },
  {
    name: "a sparse map with too little data",
    tar: one(sparse("0,5", "10")),
    message: /map doesn't fit its data/,
  },
  {
    name: "a sparse map of rubbish",
    tar: one(sparse("0,x", "10")),
    message: /isn't made of numbers/,
  },
  {
    name: "a sparse file beyond ext4",
    tar: one(sparse("0,1", "99999999999999999")),
    message: /larger than a file/,
    code: "limit_exceeded",
  },
  {
    name: "a 1.0 map of rubbish",
    tar: one(sparse1("x".repeat(512))),
    message: /isn't made of numbers/,
  },
  {
    name: "a 1.0 map that never ends",
    tar: one(sparse1("2\n".padEnd(512, "1"))),
    message: /isn't made of numbers|cut short/,
  },
  { name: "a 1.0 map without a block", tar: one(sparse1("0\n")), message: /cut short/ },
  {
    name: "a 1.0 map with too many ranges",
    tar: one(sparse1("9999999\n".padEnd(512, "\0"))),
    message: /over 1048576 ranges/,
    code: "limit_exceeded",
  },
  {
    name: "a path with more steps than it could have without symbolic links",
    tar: one(
      { path: "s", type: "2", gnuLink: "./".repeat(2000) },
      { path: "x", gnuPath: `${"s/".repeat(3)}f` },
    ),
    message: /over 4096 steps/,
  },
  {
    name: "more blocks of files than allowed",
    tar: one(...Array.from({ length: 10 }, (_, n) => ({ path: `${n}`, data: "x" }))),
    message: /files are over 20000 bytes/,
    code: "limit_exceeded",
    limits: { maxBytes: 20_000 },
  },
  ...([
    ["in a global header", one({ path: "g", type: "g", data: "x".repeat(5000) })],
    ["in a whiteout", one({ path: ".wh.f", data: "x".repeat(5000) })],
    ["in extension headers", one({ path: "f", pax: { comment: "x".repeat(5000) } })],
    ["behind the end mark", concat([one({ path: "f" }), new Uint8Array(5000)])],
  ] as const).map(([where, tar]): Case => ({
    name: `more bytes unpacked than allowed ${where}`,
    tar,
    message: /layers are over 4096 bytes unpacked/,
    code: "limit_exceeded",
    limits: { maxBytes: 4096 },
  })),
  {
    name: "more entries than allowed",
    tar: one({ path: "a" }, { path: "a" }, { path: "a" }),
    message: /over 2 entries/,
    code: "limit_exceeded",
    limits: { maxEntries: 2 },
  },
  {
    name: "more memory than allowed",
    tar: one(...Array.from({ length: 2000 }, (_, n) => ({ path: `${n}` }))),
    message: /names and attributes are over/,
    code: "limit_exceeded",
    limits: { maxMemory: 100000 },
  },
];

for (const { name, tar, message, code = "invalid_image", limits = {} } of cases) {
  Deno.test(`Ext4Image.applyLayer refuses ${name}`, async () => {
    await using folder = new TempFolder();
    await assert.rejects(
      writeImage(join(folder.path, "image"), [tar], { limits, pieceSize: 700 }),
      (error) => {
        assert.ok(error instanceof HutchError);
        assert.match(error.message, message);
        assert.equal(error.code, code);
        return true;
      },
    );
    assert.deepEqual([...Deno.readDirSync(folder.path)].map((entry) => entry.name), ["image"]);
  });
}

Deno.test("Ext4Image.applyLayer touches nothing of the host that a layer names", async () => {
  await using folder = new TempFolder();
  const host = join(folder.path, "host");
  await Deno.mkdir(host);
  await Deno.writeTextFile(join(host, "kept"), "the host's");
  const [image, kept] = [join(folder.path, "image"), join(host, "kept")];
  const layers = [
    one({ path: "in", type: "2", link: host }, { path: "in/new", data: "the image's" }),
    one({ path: "in/.wh.kept" }, { path: "in/.wh..wh..opq" }, { path: kept, data: "its own" }),
    one({ path: "link", type: "1", link: "in/kept" }, { path: "file", type: "2", link: kept }),
  ];
  await writeImage(image, layers);
  assert.deepEqual([...Deno.readDirSync(host)].map(({ name }) => name), ["kept"]);
  assert.equal(await Deno.readTextFile(kept), "the host's");
  assert.ok(!(await Deno.readTextFile(image)).includes("the host's"));
  const found = await readExt4(image);
  assert.equal(found.get(kept.slice(1))?.content, "its own");
  assert.equal(found.get("link")?.content, "its own");
  assert.equal(found.get("file")?.target, kept);
  // What isn't in the image isn't there to be linked to, wherever else it is.
  await assert.rejects(
    writeImage(join(folder.path, "other"), [one({ path: "l", type: "1", link: kept })]),
    /which isn't there/,
  );
});
