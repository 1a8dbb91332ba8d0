import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildTarget } from "../../ffi/build.ts";
import { type TarFields, writeTar } from "../support/tar.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const ROUNDS = 2000;
const SANITIZED = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
const cc = needs("cc");

/** Between them they reach every part of the reader, and every way out that a guest could try. */
const seeds: readonly (readonly TarFields[])[] = [
  [
    { path: ".", type: "5", mode: 0o755 },
    { path: "./d", type: "5", uid: 3e6, mtime: -5 },
    { path: "./d/f", data: "x".repeat(9000), mode: 0o644 },
    { path: "./d/l", type: "1", link: "./d/f" },
    { path: "./s", type: "2", link: "d" },
  ],
  [{ path: ".", data: "one file" }],
  [
    { path: ".", type: "5" },
    { path: "./up", type: "2", link: "../.." },
    { path: "./up/outside", data: "through a link" },
    { path: "./up/d", type: "5" },
  ],
  [
    { path: ".", type: "5" },
    { path: "./d", type: "5" },
    { path: "./d", type: "2", link: ".." },
    { path: "./d/outside", data: "a link in a folder's place" },
  ],
  [{ path: ".", type: "5" }, { path: "../outside", data: "1" }, { path: "/outside", data: "2" }],
  [
    { path: "x", gnuPath: `${"n/".repeat(100)}${"m".repeat(255)}`, data: "1" },
    { path: "x", type: "2", gnuLink: "t".repeat(300) },
    { path: "y", raw: { 345: "prefix" } },
    { path: "old/" },
  ],
  [
    { path: "f", data: "content", pax: { mtime: "-1.5", uid: "70000", comment: "c" } },
    { path: "g", pax: { path: "\xff\xfe", linkpath: "l", size: "3" }, data: "abc" },
    { path: "h", type: "1", link: "../../etc/passwd" },
  ],
  [{ path: "g", type: "g", data: "20 comment=whatever\n" }, { path: "v", type: "V" }],
  [{ path: "c", type: "3", major: 1, minor: 3 }, { path: "p", type: "6" }],
  Array.from({ length: 150 }, (_, index): TarFields => ({ path: `d${index % 7}/n-${index}` })),
  [{ path: `${"a/".repeat(300)}f`, gnuPath: `${"a/".repeat(300)}f`, data: "deep" }],
];

Deno.test(
  `copy_unpack_push survives mutated tars under sanitizers, and writes nothing outside${cc.note}`,
  {
    ignore: cc.ignore,
  },
  async () => {
    await using folder = new TempFolder(MEMORY);
    const output = join(ROOT, "build", "test", "fuzz-copies");
    await buildTarget({
      output,
      sources: [join(ROOT, "ffi", "copy"), join(ROOT, "tests", "ffi", "copy_fuzz")],
      headers: ["ffi", "tests/ffi"].map((folder) => join(ROOT, folder)),
      flags: ["-std=gnu11", "-Wall", "-Wextra", "-Werror", ...SANITIZED],
      libraries: [],
    });
    const paths: string[] = [];
    for (const [index, entries] of seeds.entries()) {
      const path = join(folder.path, `seed-${index}`);
      await Deno.writeFile(path, writeTar(...entries));
      paths.push(path);
    }
    const { code, stdout, stderr } = await new Deno.Command(output, {
      args: [folder.path, `${ROUNDS}`, ...paths],
      env: { ASAN_OPTIONS: "detect_leaks=1" },
      stdin: "null",
    }).output();
    const text = new TextDecoder();
    assert.equal(code, 0, text.decode(stderr).slice(0, 4000));
    const [, refused, finished] = /^(\d+) refused, (\d+) finished$/m.exec(text.decode(stdout)) ??
      [];
    assert.equal(Number(refused) + Number(finished), ROUNDS + seeds.length);
    assert.ok(Number(finished) > ROUNDS / 20, `only ${finished} finished`);
    assert.ok(Number(refused) > ROUNDS / 10, `only ${refused} were refused`);
  },
);
