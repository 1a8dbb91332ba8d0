/** Ways through folders, by way of the real agent: what they find is what `@std/fs` finds. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { BoxFiles } from "../../src/box/files.ts";
import { all, type FilesCase, testFiles } from "./files_place.ts";

const cases: readonly FilesCase[] = [
  ["walks, and expands globs", async ({ fs, dir }) => {
    for (const path of ["a/b/c.ts", "a/b/d.js", "a/.hidden/e.ts", "f.ts"]) {
      Deno.mkdirSync(join(dir, path, ".."), { recursive: true });
      Deno.writeTextFileSync(join(dir, path), "");
    }
    Deno.symlinkSync("..", join(dir, "a/up"));
    Deno.symlinkSync("nowhere", join(dir, "a/dangling"));
    const walked = async (options: Parameters<BoxFiles["walk"]>[1]) =>
      (await all(fs.walk(dir, options))).map(({ path }) => path.slice(dir.length)).sort();
    assert.deepEqual(await walked({ maxDepth: 1 }), ["", "/a", "/f.ts"]);
    assert.deepEqual(await walked({ exts: [".ts"], skip: [/hidden/] }), ["/a/b/c.ts", "/f.ts"]);
    assert.deepEqual(await walked({ includeFiles: false, includeDirs: false }), [
      "/a/dangling",
      "/a/up",
    ]);
    assert.equal((await walked({ followSymlinks: true, match: [/c\.ts$/] })).length, 1);
    const expanded = async (glob: string, options = {}) =>
      (await all(fs.expandGlob(glob, options))).map(({ path }) => path.slice(dir.length)).sort();
    assert.deepEqual(await expanded("**/*.ts"), ["/a/b/c.ts", "/f.ts"]);
    assert.deepEqual(await expanded(`${dir}/a/*/*.{ts,js}`), ["/a/b/c.ts", "/a/b/d.js"]);
    assert.deepEqual(await expanded("./a/../f.ts"), ["/f.ts"]);
    assert.deepEqual(await expanded("**/?.*", { root: "a", exclude: ["b/d*"] }), ["/a/b/c.ts"]);
    assert.deepEqual(await expanded("none/*"), []);
  }],
];

testFiles("BoxFiles.walk and expandGlob by way of the real agent", cases);
