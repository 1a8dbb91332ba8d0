/** Ways through folders, by way of the real agent: what they find is what `@std/fs` finds. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { BoxFiles } from "../../src/box/files.ts";
import type { ExpandGlobOptions } from "../../src/box/files/options.ts";
import type { BoxWalkEntry } from "../../src/box/files/walk.ts";
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
  ["walk reads its root through a link, whatever the options", async ({ fs, dir }) => {
    makeLinked(dir);
    const walked = async (root: string, options = {}) =>
      pathsBelow(dir, await all(fs.walk(root, options)));
    const whole = ["/link", "/link/inner", "/link/inner/c.ts", "/link/one.ts", "/link/round"];
    assert.deepEqual(await walked(join(dir, "link")), whole);
    assert.deepEqual(
      await walked(join(dir, "far")),
      whole.map((path) => path.replace("link", "far")),
    );
    const [root] = await all(fs.walk(join(dir, "link"), { maxDepth: 0 }));
    assert.deepEqual([root?.isDirectory, root?.isSymlink, root?.name], [true, false, "link"]);
    // What a link below leads to has the path of that, and was entered already.
    assert.deepEqual(await walked(join(dir, "link"), { followSymlinks: true }), [
      ...["/link", "/link/inner", "/link/inner/c.ts", "/link/one.ts", "/real"],
    ]);
    await assert.rejects(walked(join(dir, "dangling")), Deno.errors.NotFound);
    await assert.rejects(walked(join(dir, "loop")), Deno.errors.FilesystemLoop);
  }],
  ["walk passes by links that lead nowhere where it follows them", async ({ fs, dir }) => {
    makeLinked(dir);
    const found = await all(fs.walk(dir, { followSymlinks: true, includeDirs: false }));
    assert.deepEqual(pathsBelow(dir, found), ["/real/inner/c.ts", "/real/one.ts"]);
  }],
  ["walk judges each path on its own, whatever an expression's flags", async ({ fs, dir }) => {
    for (const name of ["a.ts", "b.ts", "c.ts", "d.js"]) {
      Deno.writeTextFileSync(join(dir, name), "");
    }
    for (const flags of ["", "g", "y", "gy"]) {
      const [ending, whole] = [new RegExp("[.]ts$", flags), new RegExp(`${dir}/..ts$`, flags)];
      ending.lastIndex = 3; // somebody's, who still wants it
      const match = flags.includes("y") ? [whole] : [ending];
      for (let times = 0; times < 2; times++) {
        const [given, left] = [
          await all(fs.walk(dir, { match })),
          await all(fs.walk(dir, { skip: match })),
        ];
        assert.deepEqual(pathsBelow(dir, given), ["/a.ts", "/b.ts", "/c.ts"], flags);
        assert.deepEqual(pathsBelow(dir, left), ["", "/d.js"], flags);
      }
      assert.equal(ending.lastIndex, 3);
    }
  }],
  ["expandGlob reads what its glob begins at through a link", async ({ fs, dir }) => {
    makeLinked(dir);
    const expanded = expanding(fs, dir);
    for (const followSymlinks of [false, true]) {
      assert.deepEqual(await expanded(`${dir}/link/*.ts`, { followSymlinks }), ["/link/one.ts"]);
      const root = join(dir, "far");
      assert.deepEqual(await expanded("*.ts", { root, followSymlinks }), ["/far/one.ts"]);
      assert.deepEqual(await expanded("*/*.ts", { root, followSymlinks }), [
        ...["/far/inner/c.ts"],
        ...(followSymlinks ? ["/far/round/one.ts"] : []),
      ]);
    }
    const [itself] = await all(fs.expandGlob(`${dir}/link`));
    assert.deepEqual([itself?.isDirectory, itself?.isSymlink], [true, false]);
    assert.deepEqual(await expanded(`${dir}/dangling`), []);
  }],
  ["expandGlob follows links under their own paths if it is asked to", async ({ fs, dir }) => {
    makeLinked(dir);
    const expanded = expanding(fs, dir);
    assert.deepEqual(await expanded("*/one.ts"), ["/real/one.ts"]);
    const followSymlinks = true;
    const three = ["/far/one.ts", "/link/one.ts", "/real/one.ts"];
    assert.deepEqual(await expanded("*/one.ts", { followSymlinks }), three);
    assert.deepEqual(await expanded("**/one.ts", { followSymlinks }), three); // no further round
    assert.deepEqual(await expanded("*/round/round/one.ts", { followSymlinks }), [
      ...["/far/round/round/one.ts", "/link/round/round/one.ts", "/real/round/round/one.ts"],
    ]);
    assert.deepEqual(await expanded("*/one.ts", { followSymlinks, exclude: ["link", "f*"] }), [
      "/real/one.ts",
    ]);
  }],
];

/** A folder, links to it from without and within, and some that lead nowhere. */
function makeLinked(dir: string): void {
  Deno.mkdirSync(join(dir, "real/inner"), { recursive: true });
  for (const name of ["real/one.ts", "real/inner/c.ts"]) {
    Deno.writeTextFileSync(join(dir, name), "");
  }
  const links = { link: "real", far: "link", "real/round": ".", dangling: "no", loop: "loop" };
  for (const [path, to] of Object.entries(links)) Deno.symlinkSync(to, join(dir, path));
}

function pathsBelow(dir: string, found: readonly BoxWalkEntry[]): string[] {
  return found.map(({ path }) => path.slice(dir.length)).sort();
}

function expanding(fs: BoxFiles, dir: string) {
  return async (glob: string, options: ExpandGlobOptions = {}) =>
    pathsBelow(dir, await all(fs.expandGlob(glob, options)));
}

testFiles("BoxFiles.walk and expandGlob by way of the real agent", cases);
