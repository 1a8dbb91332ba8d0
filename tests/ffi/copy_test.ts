import assert from "node:assert/strict";
import { join } from "node:path";
import { CopyFailure, HostCopy, type HostCopyOptions } from "../../ffi/helper.ts";
import { fc } from "../deps.ts";
import "../support/native.ts";
import { latin1, type TarFields, writeTar } from "../support/tar.ts";
import { MEMORY, TempFolder } from "../support/temp.ts";
import { pictureOf } from "../support/tree_picture.ts";

const WHOLE = { overwrite: true, parents: true, modes: true, times: true } as const;
const GUARDED = { ...WHOLE, guarded: true } as const;
const TOP: TarFields = { path: ".", type: "5", mode: 0o755, mtime: 5 };

/** Unpacks a tar in pieces of odd sizes. */
async function unpack(
  destination: string,
  tar: Uint8Array<ArrayBuffer>,
  options: HostCopyOptions = { flags: GUARDED },
): Promise<HostCopy["progress"]> {
  using copy = HostCopy.unpack(destination, "name", options);
  for (let at = 0; at < tar.length; at += 1337) await copy.push(tar.slice(at, at + 1337));
  await copy.finish();
  return copy.progress;
}

async function pack(source: string, options: HostCopyOptions = { flags: {} }) {
  using copy = HostCopy.pack(source, ".", options);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const read = () => copy.read(new Uint8Array(512 * 1024));
  for (let part = await read(); part; part = await read()) parts.push(part);
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function refused(
  entries: readonly TarFields[],
  options?: HostCopyOptions,
): Promise<CopyFailure> {
  await using folder = new TempFolder(MEMORY);
  const error = await unpack(join(folder.path, "in"), writeTar(...entries), options)
    .then(() => undefined, (reason: unknown) => reason);
  assert(error instanceof CopyFailure, `unpacked: ${JSON.stringify(entries)} ${error}`);
  const names = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
  assert.deepEqual(names.filter((name) => name !== "in"), [], "something is outside");
  return error;
}

Deno.test("HostCopy.unpack refuses whatever of a guest leads out or isn't a file, folder or symlink", async () => {
  const table: [TarFields[], string, RegExp][] = [
    [[TOP, { path: "../x", data: "1" }], "EPERM", /leads out/],
    [[TOP, { path: "./a/../../x", data: "1" }], "EPERM", /leads out/],
    [[TOP, { path: "/x", data: "1" }], "EPERM", /absolute/],
    [[TOP, { path: "x", pax: { path: "a\0b" }, data: "1" }], "EBADMSG", /zero byte/],
    [[TOP, { path: "x", pax: { path: "n".repeat(5000) } }], "EBADMSG", /too long/],
    [[TOP, { path: "x", pax: { path: "n".repeat(300) } }], "ENAMETOOLONG", /too long/],
    [
      [TOP, { path: "up", type: "2", link: ".." }, { path: "up/x", data: "1" }],
      "ENOTDIR",
      /folder/,
    ],
    [[TOP, { path: "up", type: "2", link: "/" }, { path: "up", type: "5" }], "ENOTDIR", /folder/],
    [
      [TOP, { path: "d", type: "5" }, { path: "d/x" }, { path: "d", type: "2", link: ".." }],
      "EISDIR",
      /a folder is in its place/,
    ],
    [[TOP, { path: "l", type: "1", link: "../../etc/passwd" }], "EPERM", /leads out/],
    [[TOP, { path: "l", type: "1", link: "/etc/passwd" }], "EPERM", /absolute/],
    [
      [TOP, { path: "s", type: "2", link: "/etc" }, { path: "l", type: "1", link: "s/passwd" }],
      "ENOTDIR",
      /hard link/,
    ],
    [[TOP, { path: "n", type: "3", major: 1, minor: 3 }], "EPERM", /device/],
    [[TOP, { path: "n", type: "4", major: 1, minor: 3 }], "EPERM", /device/],
    [[TOP, { path: "n", type: "6" }], "EPERM", /fifo/],
    [[TOP, { path: "n", type: "Z" }], "EOPNOTSUPP", /unknown kind/],
    [[TOP, { path: "n", type: "S", data: "x" }], "EOPNOTSUPP", /sparse/],
    [[TOP, TOP], "EBADMSG", /isn't of one tree/],
    [[{ path: "x", data: "1" }], "EBADMSG", /isn't of one tree/],
    [
      [{ path: ".", type: "2", link: "/" }, { path: "./x", data: "1" }],
      "EBADMSG",
      /isn't of one tree/,
    ],
    [[{ path: ".", type: "3", major: 1, minor: 3 }], "EPERM", /device/],
    [[TOP, { path: "n", size: 8 ** 11, data: "" }], "EFBIG", /bytes/],
    [[TOP, { path: "a" }, { path: "b" }, { path: "c" }, { path: "d" }], "EFBIG", /entries/],
    [[TOP, { path: `${"d/".repeat(300)}f`, gnuPath: `${"d/".repeat(300)}f` }], "ELOOP", /255/],
  ];
  for (const [entries, code, words] of table) {
    const limits = { flags: GUARDED, maxBytes: 1e6, maxEntries: 4 };
    const error = await refused(entries, limits);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
  }
});

Deno.test("HostCopy.unpack gives a guest no hold on what was there: no link to it, no set-id bit", async () => {
  await using folder = new TempFolder(MEMORY);
  const to = join(folder.path, "in");
  await Deno.mkdir(to);
  await Deno.writeTextFile(join(to, "secret"), "old");
  await Deno.symlink("/etc", join(to, "link"));
  const old = writeTar(TOP, { path: "l", type: "1", link: "secret" });
  await assert.rejects(unpack(to, old), /isn't part of the copy/);
  const through = writeTar(TOP, { path: "link/hutch-was-here", data: "1" });
  await assert.rejects(unpack(to, through), { code: "ENOTDIR" });
  await unpack(
    to,
    writeTar(TOP, { path: "s", mode: 0o6755, data: "1" }, { path: "t", type: "5", mode: 0o7777 }),
  );
  assert.equal((Deno.statSync(join(to, "s")).mode ?? 0) & 0o7777, 0o755);
  assert.equal((Deno.statSync(join(to, "t")).mode ?? 0) & 0o7777, 0o777);
  await unpack(to, writeTar(TOP, { path: "link", data: "a file now" }));
  assert(Deno.lstatSync(join(to, "link")).isFile);
});

Deno.test("HostCopy.unpack takes away what was cut off, and leaves no folder without its mode", async () => {
  await using folder = new TempFolder(MEMORY);
  const to = join(folder.path, "in");
  const tar = writeTar(TOP, { path: "d", type: "5", mode: 0o750 }, {
    path: "d/whole",
    data: "1",
    mode: 0o600,
  }, {
    path: "d/half",
    data: "x".repeat(100_000),
  });
  {
    using copy = HostCopy.unpack(to, "", { flags: GUARDED });
    await copy.push(tar.slice(0, 60_000));
    assert(Deno.statSync(join(to, "d/half")).size > 10_000);
    await assert.rejects(copy.finish(), /ended in the middle/);
  }
  assert.deepEqual([...Deno.readDirSync(join(to, "d"))].map(({ name }) => name), ["whole"]);
  assert.equal((Deno.statSync(join(to, "d")).mode ?? 0) & 0o777, 0o750);
});

Deno.test("HostCopy.unpack puts files and folders where cp would", async () => {
  const file = writeTar({ path: ".", data: "f", mode: 0o644 });
  const tree = writeTar(TOP, { path: "x", data: "x", mode: 0o644 });
  const table: [string, Uint8Array<ArrayBuffer>, HostCopyOptions["flags"], string[] | string][] = [
    ["new", file, WHOLE, ["new"]],
    ["new/", file, WHOLE, ["new", "new/name"]],
    ["new/", file, { ...WHOLE, parents: false }, "ENOENT"],
    ["a/b", file, { ...WHOLE, parents: false }, "ENOENT"],
    ["a/b", file, WHOLE, ["a", "a/b"]],
    ["there", file, WHOLE, ["there/name"]],
    ["file", file, WHOLE, []],
    ["file/", file, WHOLE, "ENOTDIR"],
    ["file", file, { ...WHOLE, overwrite: false }, "EEXIST"],
    ["new", tree, WHOLE, ["new", "new/x"]],
    ["there", tree, WHOLE, ["there/x"]],
    ["there", tree, { ...WHOLE, into: true }, ["there/name", "there/name/x"]],
    ["there/.", tree, { ...WHOLE, intoOld: true }, ["there/name", "there/name/x"]],
    ["new", tree, { ...WHOLE, intoOld: true }, ["new", "new/x"]],
    ["new", tree, { ...WHOLE, into: true }, ["new", "new/name", "new/name/x"]],
    ["file", tree, WHOLE, "ENOTDIR"],
    ["there", tree, { ...WHOLE, archive: true }, ["there/x"]],
    ["new", tree, { ...WHOLE, archive: true, parents: false }, "ENOENT"],
  ];
  for (const [to, tar, flags, wanted] of table) {
    await using folder = new TempFolder(MEMORY);
    await Deno.mkdir(join(folder.path, "there"));
    await Deno.writeTextFile(join(folder.path, "file"), "old");
    const result = await unpack(`${folder.path}/${to}`, tar, { flags }).then(
      () => undefined,
      (error: unknown) => error instanceof CopyFailure ? error.code : error,
    );
    const what = `${to} ${JSON.stringify(flags)}`;
    if (typeof wanted === "string") {
      assert.equal(result, wanted, what);
      continue;
    }
    assert.equal(result, undefined, what);
    assert.deepEqual(
      walk(folder.path).filter((path) => !["file", "there"].includes(path)),
      wanted,
      what,
    );
  }
});

function walk(folder: string, below = ""): string[] {
  return [...Deno.readDirSync(join(folder, below))].sort((a, b) => a.name < b.name ? -1 : 1)
    .flatMap(({ name, isDirectory }) => {
      const path = join(below, name);
      return isDirectory ? [path, ...walk(folder, path)] : [path];
    });
}

Deno.test("HostCopy.unpack puts a root folder's contents into the destination, as it has no name", async () => {
  await using folder = new TempFolder(MEMORY);
  using copy = HostCopy.unpack(folder.path, ".", { flags: { ...WHOLE, intoOld: true } });
  await copy.push(writeTar(TOP, { path: "x", data: "x" }));
  await copy.finish();
  assert.deepEqual(walk(folder.path), ["x"]);
});

Deno.test("HostCopy asks the filter about what is below the top, and passes folders by as a whole", async () => {
  await using folder = new TempFolder(MEMORY);
  const tar = writeTar(
    TOP,
    { path: "keep", type: "5", mode: 0o755 },
    { path: "keep/a", data: "12345", mode: 0o644 },
    { path: "drop", type: "5", mode: 0o755 },
    { path: "drop/b", data: "1" },
    { path: "dropped-not", data: "1" },
    { path: "fifo", type: "6" },
  );
  const asked: string[] = [];
  const filter = async ({ path, kind, size }: { path: string; kind: string; size: number }) => {
    asked.push(`${path} ${kind} ${size}`);
    await Promise.resolve();
    return path !== "drop" && kind !== "other";
  };
  await unpack(join(folder.path, "1"), tar, { flags: GUARDED, filter });
  const wanted = [
    "keep folder 0",
    "keep/a file 5",
    "drop folder 0",
    "dropped-not file 1",
    "fifo other 0",
  ];
  assert.deepEqual(asked, wanted);
  assert.deepEqual(walk(join(folder.path, "1")), ["dropped-not", "keep", "keep/a"]);
  asked.length = 0;
  const picked = await pack(join(folder.path, "1"), {
    flags: {},
    filter: ({ path }) => path !== "keep",
  });
  await unpack(join(folder.path, "2"), picked);
  assert.deepEqual(walk(join(folder.path, "2")), ["dropped-not"]);
  const error = new Error("the filter's own");
  await assert.rejects(
    pack(join(folder.path, "1"), { flags: {}, filter: () => Promise.reject(error) }),
    error,
  );
});

Deno.test("HostCopy.pack says what it can't read", async () => {
  await using folder = new TempFolder(MEMORY);
  const path = (name: string) => join(folder.path, name);
  await assert.rejects(pack(path("none")), { code: "ENOENT" });
  await Deno.mkdir(path("loop"));
  await Deno.symlink("..", path("loop/up"));
  await assert.rejects(pack(folder.path, { flags: { follow: true } }), {
    code: "ELOOP",
    path: "./loop/up",
  });
  await Deno.remove(path("loop/up"));
  await Deno.symlink("nowhere", path("loop/dangling"));
  await assert.rejects(pack(folder.path, { flags: { follow: true } }), { code: "ENOENT" });
  await Deno.remove(path("loop/dangling"));
  using _listener = Deno.listen({ transport: "unix", path: path("socket") });
  using copy = HostCopy.pack(folder.path, ".", { flags: {} });
  while (await copy.read(new Uint8Array(512 * 1024)));
  assert.deepEqual(copy.progress, { path: ".", entries: 2, bytes: 0, skipped: 1 });
});

Deno.test("HostCopy.unpack and pack map owners", async () => {
  await using folder = new TempFolder(MEMORY);
  if (Deno.uid() !== 0) return;
  const to = join(folder.path, "in");
  const tar = writeTar(TOP, { path: "f", uid: 1000, gid: 1001, data: "1", mode: 0o600 });
  const map = [{ from: 0, to: 7000, count: 1 }, { from: 1000, to: 8000, count: 2 }];
  await unpack(to, tar, { flags: GUARDED, owner: map });
  const { uid, gid } = Deno.statSync(join(to, "f"));
  assert.deepEqual([uid, gid, Deno.statSync(to).uid], [8000, 8001, 7000]);
  await assert.rejects(
    unpack(to, tar, { flags: GUARDED, owner: map.slice(0, 1) }),
    /map of owners/,
  );
  await assert.rejects(pack(to, { flags: {}, owner: map }), /map of owners/);
  await unpack(join(folder.path, "2"), await pack(to, { flags: {}, owner: { uid: 3, gid: 4 } }), {
    flags: GUARDED,
    owner: "keep",
  });
  assert.equal(Deno.statSync(join(folder.path, "2", "f")).gid, 4);
});

/** Trees with odd names, links, modes and times. */
const name = fc.string({
  minLength: 1,
  maxLength: 12,
  unit: fc.integer({ min: 1, max: 255 }).map((byte) => String.fromCharCode(byte)),
})
  .filter((text) => !text.includes("/") && text !== "." && text !== "..");
const time = fc.tuple(
  fc.integer({ min: -5e9, max: 2e10 }),
  fc.integer({ min: 0, max: 999_999_999 }),
);
const seed = fc.record({
  name,
  kind: fc.constantFrom("file", "folder", "symlink", "hard"),
  mode: fc.integer({ min: 0, max: 0o777 }),
  time,
  size: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.constantFrom(512, 1024, 70_000)),
  link: fc.string({ minLength: 1, maxLength: 150, unit: fc.constantFrom("a", "/", ".", "\xe9") }),
  parent: fc.nat(),
});
type Seed = typeof seed extends fc.Arbitrary<infer T> ? T : never;

function entriesOf(seeds: readonly Seed[]): TarFields[] {
  const folders = ["."];
  const files: string[] = [];
  const taken = new Set<string>();
  const entries: TarFields[] = [TOP];
  for (const { name, kind, mode, time: [seconds, nanos], size, link, parent } of seeds) {
    const path = `${folders[parent % folders.length]}/${name}`;
    if (taken.has(path)) continue;
    taken.add(path);
    const fraction = `${nanos}`.padStart(9, "0");
    const mtime = nanos === 0 || seconds < 0 ? `${seconds}` : `${seconds}.${fraction}`;
    const pax = { path, mtime, ...kind === "symlink" ? { linkpath: link } : {} };
    if (kind === "folder") {
      folders.push(path);
      entries.push({ path: "x", pax, type: "5", mode: mode | 0o700 });
    } else if (kind === "symlink") entries.push({ path: "x", pax, type: "2" });
    else if (kind === "hard" && files.length > 0) {
      entries.push({
        path: "x",
        pax: { path, linkpath: files[parent % files.length] ?? "" },
        type: "1",
      });
    } else {
      files.push(path);
      entries.push({ path: "x", pax, mode: mode | 0o400, data: latin1("x".repeat(size)) });
    }
  }
  return entries;
}

Deno.test("HostCopy.pack and unpack give back any tree", async () => {
  await using folder = new TempFolder(MEMORY);
  let count = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(seed, { maxLength: 25 }), async (seeds) => {
      const path = (which: string) => join(folder.path, `${++count}-${which}`);
      const [from, to] = [path("from"), path("to")];
      await unpack(from, writeTar(...entriesOf(seeds)));
      const tar = await pack(from);
      await unpack(to, tar);
      assert.equal(await pictureOf(to), await pictureOf(from));
    }),
    { numRuns: 40 },
  );
});
