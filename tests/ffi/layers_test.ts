import assert from "node:assert/strict";
import { makeImage, summaries } from "../support/layers.ts";
import { latin1, tarEntry, type TarFields, writeTar } from "../support/tar.ts";

interface Case {
  readonly name: string;
  readonly layers: readonly (readonly TarFields[])[];
  readonly expected: Readonly<Record<string, string>>;
}

const LONG = "n".repeat(255);
/** An access control list for user 1000; `none` stands where an entry has no id. */
function acl(none: string): string {
  return ["\x02\0\0\0", `\x01\0\x07\0${none}`, "\x02\0\x04\0\xe8\x03\0\0", `\x04\0\x05\0${none}`]
    .concat([`\x10\0\x05\0${none}`, `\x20\0\0\0${none}`]).join("");
}
const ACL = acl("\xff\xff\xff\xff");
/** The disk has no place for ids that aren't: e2fsprogs then reads 0. */
const ACL_READ = acl("\0\0\0\0");

const folder = (path: string, more: Partial<TarFields> = {}): TarFields => ({
  path,
  type: "5",
  ...more,
});
const file = (path: string, data: string, more: Partial<TarFields> = {}): TarFields => ({
  path,
  data,
  ...more,
});
const symlink = (path: string, link: string): TarFields => ({ path, type: "2", link });
const hardLink = (path: string, link: string): TarFields => ({ path, type: "1", link });

const cases: readonly Case[] = [
  {
    name: "every kind of entry",
    layers: [[
      folder("./d/", { mode: 0o1777, uid: 1, gid: 2 }),
      file("./d/f", "content", { mode: 0o4755, uid: 1000, gid: 100 }),
      file("/absolute", ""),
      symlink("short", "d/f"),
      symlink("long", "t".repeat(90)),
      symlink("dangling", "/../../nowhere"),
      hardLink("d/again", "./d/f"),
      { path: "char", type: "3", major: 1, minor: 3, mode: 0o666 },
      { path: "block", type: "4", major: 4095, minor: 0xfffff },
      { path: "fifo", type: "6" },
      { path: "contiguous", type: "7", data: "x" },
      { path: "v7", type: "\0", data: "y" },
      { path: "v7folder/", type: "\0" },
    ]],
    expected: {
      "d": "d 1777 1:2",
      "d/f": 'f 4755 1000:100 "content" x2',
      "d/again": 'f 4755 1000:100 "content" x2',
      "absolute": 'f 644 0:0 ""',
      "short": "l 777 0:0 -> d/f",
      "long": `l 777 0:0 -> ${"t".repeat(90)}`,
      "dangling": "l 777 0:0 -> /../../nowhere",
      "char": "c 666 0:0 1:3",
      "block": "b 644 0:0 4095:1048575",
      "fifo": "p 644 0:0",
      "contiguous": 'f 644 0:0 "x"',
      "v7": 'f 644 0:0 "y"',
      "v7folder": "d 644 0:0",
    },
  },
  {
    name: "large owners and all kinds of times",
    layers: [[
      file("header", "", { uid: 3_000_000_000, gid: 4_294_967_294, mtime: -5 }),
      file("pax", "", { pax: { uid: "4000000000", gid: "70000", mtime: "1350244992.023960108" } }),
      file("before", "", { pax: { mtime: "-1.5" } }),
      file("year2400", "", { pax: { mtime: "13569465600" } }),
      file("never", "", { pax: { mtime: "99999999999999" } }),
      file("digits", "", { pax: { mtime: "1.1234567899" } }),
    ]],
    expected: {
      "header": 'f 644 3000000000:4294967294 "" @-5+0',
      "pax": 'f 644 4000000000:70000 "" @1350244992+23960108',
      "before": 'f 644 0:0 "" @-2+500000000',
      "year2400": 'f 644 0:0 "" @13569465600+0',
      "never": 'f 644 0:0 "" @15032385535+0',
      "digits": 'f 644 0:0 "" @1+123456789',
    },
  },
  {
    name: "extended attributes, binary ones and lists too, and leaves out foreign ones",
    layers: [[
      file("f", "", {
        pax: {
          "SCHILY.xattr.user.text": "hello",
          "SCHILY.xattr.user.empty": "",
          "SCHILY.xattr.security.capability": "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
          "SCHILY.xattr.system.posix_acl_access": ACL,
          "SCHILY.xattr.system.nfs4_acl": "no",
          "SCHILY.xattr.user.large": "\n=".repeat(80),
        },
      }),
      folder("d", { pax: { "SCHILY.xattr.system.posix_acl_default": ACL } }),
    ], [folder("d", { pax: { "SCHILY.xattr.user.new": "1" } })]],
    expected: {
      "f": 'f 644 0:0 "" ' + [
        ["security.capability", "\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"],
        ["system.posix_acl_access", ACL_READ],
        ["user.empty", ""],
        ["user.large", "\n=".repeat(80)],
        ["user.text", "hello"],
      ].map(([name, value]) => `${name}=${JSON.stringify(value)}`).join(" "),
      "d": 'd 755 0:0 user.new="1"',
    },
  },
  {
    name: "long names and names that aren't UTF-8 in every way to write them",
    layers: [[
      file("p", "1", { pax: { path: `pax/${LONG}`, linkpath: "ignored" } }),
      file("p", "2", { gnuPath: `gnu/${LONG}` }),
      { path: "p", type: "2", gnuPath: "gnu/link", gnuLink: "t".repeat(300) },
      file("suffix", "3", { raw: { 345: "prefix/of/it" } }),
      file("p", "4", { pax: { path: "\xff\xfe latin \xe9" } }),
      file("\x80raw", "5"),
      file("p", "6", { pax: { path: "K\xc3\xa4se" } }),
    ]],
    expected: {
      "pax": "d 755 0:0",
      [`pax/${LONG}`]: 'f 644 0:0 "1"',
      "gnu": "d 755 0:0",
      [`gnu/${LONG}`]: 'f 644 0:0 "2"',
      "gnu/link": `l 777 0:0 -> ${"t".repeat(300)}`,
      "prefix": "d 755 0:0",
      "prefix/of": "d 755 0:0",
      "prefix/of/it": "d 755 0:0",
      "prefix/of/it/suffix": 'f 644 0:0 "3"',
      "\xff\xfe latin \xe9": 'f 644 0:0 "4"',
      "\x80raw": 'f 644 0:0 "5"',
      "K\xc3\xa4se": 'f 644 0:0 "6"',
    },
  },
  {
    name: "the last of entries with one name",
    layers: [[
      file("a", "first"),
      file("a", "second"),
      folder("d", { mode: 0o700 }),
      file("d/kept", ""),
      folder("d", { mode: 0o711 }),
      file("other", "x"),
      folder("other"),
      folder("gone"),
      file("gone/below", ""),
      file("gone", "file"),
    ]],
    expected: {
      "a": 'f 644 0:0 "second"',
      "d": "d 711 0:0",
      "d/kept": 'f 644 0:0 ""',
      "other": "d 755 0:0",
      "gone": 'f 644 0:0 "file"',
    },
  },
  {
    name: "what an upper layer replaces",
    layers: [
      [
        file("f", "old"),
        folder("d"),
        file("d/x", ""),
        folder("l"),
        file("l/x", ""),
        symlink("s", "d"),
      ],
      [folder("f"), file("f/new", ""), file("d", "now a file"), symlink("l", "f"), folder("s")],
      [],
    ],
    expected: {
      "f": "d 755 0:0",
      "f/new": 'f 644 0:0 ""',
      "d": 'f 644 0:0 "now a file"',
      "l": "l 777 0:0 -> f",
      "s": "d 755 0:0",
    },
  },
  {
    name: "whiteouts, which hide only lower layers wherever they stand",
    layers: [
      [
        file("gone", ""),
        file("x", "", { gnuPath: LONG }),
        file("early", "low"),
        file("late", "low"),
        folder("tree", { mode: 0o700, pax: { "SCHILY.xattr.user.x": "1" } }),
        file("tree/low", ""),
        folder("tree/sub"),
        file("tree/sub/low", ""),
        folder("mixed", { mode: 0o700, pax: { "SCHILY.xattr.user.x": "1" } }),
        file("mixed/low", ""),
      ],
      [
        file(".wh.gone", ""),
        file("x", "", { gnuPath: `.wh.${LONG}` }),
        file(".wh.early", ""),
        file("early", "new"),
        file("late", "new"),
        file(".wh.late", ""),
        file(".wh.tree", ""),
        file("mixed/new", ""),
        file(".wh.mixed", "", { data: "with content" }),
        file(".wh.never-there", ""),
        file("no/such/.wh.folder", ""),
        file(".wh..wh.plnk/12.34", "kept by aufs"),
        file(".wh..wh.aufs", ""),
      ],
    ],
    expected: {
      "early": 'f 644 0:0 "new"',
      "late": 'f 644 0:0 "new"',
      "mixed": "d 755 0:0",
      "mixed/new": 'f 644 0:0 ""',
    },
  },
  {
    name: "opaque folders, which hide only lower children",
    layers: [
      [
        folder("d", { mode: 0o700 }),
        file("d/low", ""),
        file("d/both", "low"),
        folder("d/sub"),
        file("d/sub/low", ""),
        folder("e"),
        file("e/low", ""),
        folder("f"),
        file("f/low", ""),
      ],
      [
        folder("d", { mode: 0o711 }),
        file("d/early", ""),
        file("d/.wh..wh..opq", ""),
        file("d/both", "new"),
        file("d/sub/new", ""),
        file("e/.wh..wh..opq", ""),
      ],
      [file("d/top", ""), file("missing/.wh..wh..opq", "")],
    ],
    expected: {
      "d": "d 711 0:0",
      "d/early": 'f 644 0:0 ""',
      "d/both": 'f 644 0:0 "new"',
      "d/sub": "d 755 0:0",
      "d/sub/new": 'f 644 0:0 ""',
      "d/top": 'f 644 0:0 ""',
      "e": "d 755 0:0",
      "f": "d 755 0:0",
      "f/low": 'f 644 0:0 ""',
    },
  },
  {
    name: "hard links, also to lower layers and to names removed later",
    layers: [
      [
        file("low", "low"),
        symlink("s", "low"),
        file("doomed", "kept alive"),
        hardLink("alive", "doomed"),
      ],
      [
        hardLink("up/link", "low"),
        hardLink("s2", "/s"),
        file(".wh.doomed", ""),
        hardLink("low", "low"),
        file("a", "a"),
        hardLink("b", "a"),
        file("a", "changed"),
      ],
    ],
    expected: {
      "low": 'f 644 0:0 "low" x2',
      "up": "d 755 0:0",
      "up/link": 'f 644 0:0 "low" x2',
      "s": "l 777 0:0 -> low x2",
      "s2": "l 777 0:0 -> low x2",
      "alive": 'f 644 0:0 "kept alive"',
      "a": 'f 644 0:0 "changed"',
      "b": 'f 644 0:0 "a"',
    },
  },
  {
    name: "parents that are symbolic links, within the image",
    layers: [
      [
        folder("usr/lib"),
        symlink("lib", "usr/lib"),
        symlink("out", "../../../etc"),
        symlink("abs", "/usr/./lib/"),
        symlink("chain", "abs/../lib"),
        symlink("sub/abs", "/usr/lib"),
        symlink("sub/up", "../usr/lib"),
      ],
      [
        file("lib/a", "a"),
        file("out/passwd", "in the image"),
        file("abs/b", "b"),
        file("chain/c", "c"),
        file("sub/abs/d", "d"),
        file("sub/up/e", "e"),
        hardLink("link", "lib/a"),
        file("lib/.wh.a", ""),
      ],
    ],
    expected: {
      "usr": "d 755 0:0",
      "usr/lib": "d 755 0:0",
      "usr/lib/a": 'f 644 0:0 "a" x2',
      "usr/lib/b": 'f 644 0:0 "b"',
      "usr/lib/c": 'f 644 0:0 "c"',
      "usr/lib/d": 'f 644 0:0 "d"',
      "usr/lib/e": 'f 644 0:0 "e"',
      "sub": "d 755 0:0",
      "sub/abs": "l 777 0:0 -> /usr/lib",
      "sub/up": "l 777 0:0 -> ../usr/lib",
      "link": 'f 644 0:0 "a" x2',
      "lib": "l 777 0:0 -> usr/lib",
      "out": "l 777 0:0 -> ../../../etc",
      "etc": "d 755 0:0",
      "etc/passwd": 'f 644 0:0 "in the image"',
      "abs": "l 777 0:0 -> /usr/./lib/",
      "chain": "l 777 0:0 -> abs/../lib",
    },
  },
  {
    name: "headers that say nothing of the image",
    layers: [[
      { path: "pax_global_header", type: "g", data: "20 comment=whatever\n" },
      { path: "volume", type: "V" },
      file("f", "x", {
        pax: { "comment": "ä", "SCHILY.dev": "1", "LIBARCHIVE.xattr.user.a": "YQ" },
      }),
    ]],
    expected: { "f": 'f 644 0:0 "x"' },
  },
];

for (const { name, layers, expected } of cases) {
  Deno.test(`Ext4Image.applyLayer keeps ${name}`, async () => {
    const tars = layers.map((entries) => writeTar(...entries));
    assert.deepEqual(sorted(summaries(await makeImage(tars))), sorted(expected));
  });
}

Deno.test("Ext4Image.applyLayer takes a tar in pieces of any size", async () => {
  const tars = cases.map(({ layers }) => layers.map((entries) => writeTar(...entries)));
  for (const [index, layers] of tars.entries()) {
    const found = summaries(
      await makeImage(layers, { pieceSize: [1, 7, 511, 513][index % 4] ?? 1 }),
    );
    assert.deepEqual(sorted(found), sorted(cases[index]?.expected ?? {}));
  }
});

Deno.test("Ext4Image.applyLayer takes layers without entries or end marks", async () => {
  const layers = [new Uint8Array(), writeTar(), tarEntry(file("f", "x")), new Uint8Array(512)];
  assert.deepEqual(summaries(await makeImage(layers)), { "f": 'f 644 0:0 "x"' });
});

Deno.test("Ext4Image.applyLayer ignores what follows the end mark", async () => {
  const tar = new Uint8Array([...writeTar(file("f", "x")), ...latin1("rubbish")]);
  assert.deepEqual(summaries(await makeImage([tar])), { "f": 'f 644 0:0 "x"' });
});

Deno.test("Ext4Image.applyLayer sets the root's own attributes", async () => {
  const entries = await makeImage([writeTar(folder("./", { mode: 0o711, uid: 5, mtime: 9 }))]);
  const root = entries.get("");
  assert.deepEqual([root?.mode, root?.uid, root?.seconds], [0o711, 5, 9]);
});

Deno.test("Ext4Image.applyLayer takes 127 layers", async () => {
  const layers = Array.from({ length: 127 }, (_, index) =>
    writeTar(
      file(`f${index}`, `${index}`),
      file("all", `${index}`),
      ...(index > 0 ? [file(`.wh.f${index - 1}`, "")] : []),
    ));
  assert.deepEqual(sorted(summaries(await makeImage(layers))), {
    "all": 'f 644 0:0 "126"',
    "f126": 'f 644 0:0 "126"',
  });
});

function sorted(entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).sort(([a], [b]) => a < b ? -1 : 1));
}
