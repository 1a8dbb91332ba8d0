/** The agent's programs for files, here and under sanitizers: what they do is what Deno does. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { BoxFiles } from "../../src/box/files.ts";
import { TempFolder } from "../support/temp.ts";
import { rejects } from "../support/rejects.ts";
import { all, bytesOf, cc, type FilesCase, noise, testFiles } from "./files_place.ts";
import { NativeAgent } from "./native.ts";

const cases: readonly FilesCase[] = [
  ["reads and writes whole files", async ({ fs, dir }) => {
    for (const length of [0, 1, 4096, 262_143, 262_144, 262_145, 3_000_001]) {
      const [path, bytes] = [join(dir, `n${length}`), noise(length)];
      await fs.writeFile(path, bytes);
      assert.deepEqual(Deno.readFileSync(path), bytes);
      assert.deepEqual(await fs.readFile(path), bytes);
    }
    await fs.writeTextFile("relative", "grüße\n");
    assert.equal(Deno.readTextFileSync(join(dir, "relative")), "grüße\n");
    await fs.writeTextFile("relative", "more", { append: true });
    assert.equal(await fs.readTextFile(new URL(`file://${dir}/relative`)), "grüße\nmore");
    assert.deepEqual(await fs.readFile("/proc/self/stat").then(({ length }) => length > 9), true);
    await rejects(
      fs.readFile("n3000001", { maxBytes: 2 ** 21 }),
      "limit_exceeded",
      /2097152 bytes/,
    );
  }],
  ["writes what streams give", async ({ fs, dir }) => {
    const sizes = [0, 1, 100, 300_000, 262_144, 5, 1_000_000];
    const chunks = sizes.map(noise);
    await fs.writeFile("s", ReadableStream.from(chunks));
    const whole = new Uint8Array(await new Blob(chunks).arrayBuffer());
    assert.deepEqual(Deno.readFileSync(join(dir, "s")), whole);
    await fs.writeTextFile("t", ReadableStream.from(["a", "ü"]), { append: true });
    assert.equal(Deno.readTextFileSync(join(dir, "t")), "aü");
    const broken = ReadableStream.from((function* () {
      yield bytesOf("first");
      throw new TypeError("no more");
    })());
    await assert.rejects(fs.writeFile("u", broken), { name: "TypeError", message: "no more" });
  }],
  ["keeps modes as Deno does", async ({ fs, dir }) => {
    const mode = (name: string) => (Deno.statSync(join(dir, name)).mode ?? 0) & 0o7777;
    await fs.writeFile("new", bytesOf("x"));
    await fs.writeFile("set", bytesOf("x"), { mode: 0o666 });
    await fs.writeFile("new2", noise(300_000), { mode: 0o602 });
    await fs.mkdir("made", { mode: 0o777 });
    await fs.chmod("made", 0o1755);
    assert.deepEqual(["new", "set", "new2", "made"].map(mode), [0o644, 0o666, 0o602, 0o1755]);
    await fs.writeFile("new", bytesOf("y"));
    assert.equal(mode("new"), 0o644);
    await fs.writeFile("new", bytesOf("y"), { mode: 0o600 });
    assert.equal(mode("new"), 0o600);
    await fs.copyFile("new", "copy");
    assert.equal(mode("copy"), 0o600);
  }],
  ["tells of files what Deno tells", async ({ fs, dir }) => {
    Deno.writeTextFileSync(join(dir, "file"), "12345");
    Deno.symlinkSync("file", join(dir, "link"));
    for (const path of ["file", "link", ".", "/dev/null", "/proc/self/status"]) {
      const whole = path.startsWith("/") ? path : join(dir, path);
      const unsure = path.startsWith("/proc") ? { ino: 0, mtime: 0, atime: 0 } : {};
      const rounded = { birthtime: 0, ctime: 0, ...unsure };
      assert.deepEqual({ ...await fs.stat(path), ...rounded }, {
        ...Deno.statSync(whole),
        ...rounded,
      });
      assert.deepEqual({ ...await fs.lstat(path), ...rounded }, {
        ...Deno.lstatSync(whole),
        ...rounded,
      });
    }
    await fs.utime("file", 1.5, new Date(-86_400_250));
    await fs.lutime("link", 5, 6);
    const { atime, mtime } = Deno.statSync(join(dir, "file"));
    assert.deepEqual([atime?.getTime(), mtime?.getTime()], [1500, -86_400_250]);
    assert.equal(Deno.lstatSync(join(dir, "link")).mtime?.getTime(), 6000);
    assert.equal((await fs.stat("file")).mtime?.getTime(), -86_400_250);
    await fs.chown("file", Deno.uid(), null);
    assert.deepEqual([await fs.exists("file"), await fs.exists("file/x"), await fs.exists("no")], [
      ...[true, false, false],
    ]);
    assert.equal(await fs.exists("file", { isDirectory: true }), false);
  }],
  ["fails as Deno fails", async ({ fs, dir }) => {
    Deno.mkdirSync(join(dir, "full/inner"), { recursive: true });
    Deno.writeTextFileSync(join(dir, "file"), "");
    Deno.symlinkSync("loop", join(dir, "loop"));
    type Do = (on: typeof Deno | BoxFiles) => Promise<unknown>;
    const path = (name: string) => join(dir, name);
    const both: readonly (readonly [string, Do])[] = [
      ["no", (on) => on.readFile(path("no"))],
      ["file/x", (on) => on.readFile(path("file/x"))],
      ["full", (on) => on.readFile(path("full"))],
      ["loop", (on) => on.readFile(path("loop"))],
      ["file", (on) => on.mkdir(path("file"))],
      ["no/dir", (on) => on.mkdir(path("no/dir"))],
      ["no", (on) => on.remove(path("no"))],
      ["", (on) => on.remove("")],
      ["full", (on) => on.rename(path("full"), path("file"))],
    ];
    for (const [name, run] of both) {
      const [theirs, ours] = [await failure(run(Deno)), await failure(run(fs))];
      assert.equal(ours.constructor, theirs.constructor, name);
      assert.equal(Reflect.get(ours, "code"), Reflect.get(theirs, "code"));
      assert.match(ours.message, /^Cannot .* in box "native": [A-Z].*\(os error \d+\)$/);
      assert.ok(ours.message.includes(JSON.stringify(name === "" ? "" : path(name))), ours.message);
    }
    await rejects(fs.remove("full"), "guest_failed", /Directory not empty \(os error 39\)$/);
    await rejects(fs.writeTextFile("/dev/full", "x"), "no_space", /No space left/);
    await rejects(fs.readFile("a\0b"), "invalid_option", /NUL/);
    await rejects(fs.open("file", { create: true }), "invalid_option", /needs write/);
    await assert.rejects(
      fs.writeFile("file", bytesOf(""), { createNew: true }),
      Deno.errors.AlreadyExists,
    );
    await assert.rejects(
      fs.writeFile("none", bytesOf(""), { create: false }),
      Deno.errors.NotFound,
    );
  }],
  ["keeps names that aren't UTF-8", async ({ fs, dir }) => {
    const odd = bytesOf(`${dir}/`, 0xff, "odd", 0xfe);
    await fs.mkdir(odd);
    await fs.writeTextFile(bytesOf(`${dir}/`, 0xff, "odd", 0xfe, "/in\n", 0x80), "here");
    const [folder] = await all(fs.readDir("."));
    assert.ok(folder?.isDirectory);
    assert.equal(folder.name, "\ufffdodd\ufffd");
    assert.deepEqual(folder.nameBytes, bytesOf(0xff, "odd", 0xfe));
    const found = await all(fs.walk(dir, { includeDirs: false }));
    assert.equal(found.length, 1);
    assert.equal(await fs.readTextFile(found[0]?.pathBytes ?? ""), "here");
    await fs.symlink(bytesOf("x", 0xff), "link");
    assert.deepEqual(await fs.readLinkBytes("link"), bytesOf("x", 0xff));
    assert.equal(await fs.readLink("link"), "x\ufffd");
    await fs.rename(folder.pathBytes, "plain");
    assert.equal(await fs.realPath("plain/../plain"), Deno.realPathSync(join(dir, "plain")));
  }],
  ["lists folders of any size", async ({ fs, dir }) => {
    assert.deepEqual(await all(fs.readDir(dir)), []);
    const names = Array.from({ length: 2500 }, (_, i) => `${i}-${"n".repeat(i % 200)}`);
    for (const name of names) Deno.writeTextFileSync(join(dir, name), "");
    const listed = (await all(fs.readDir(dir))).map(({ name }) => name);
    assert.deepEqual(listed.sort(), names.sort());
    for await (const _ of fs.readDir(dir)) break; // lets go of the folder
    await assert.rejects(all(fs.readDir(join(dir, "0-"))), Deno.errors.NotADirectory);
  }],
  ["reads and writes open files as Deno's do", async ({ fs, dir }) => {
    const path = join(dir, "f");
    const bytes = noise(1_000_000);
    {
      await using file = await fs.open(path, { read: true, write: true, createNew: true });
      assert.equal(await file.write(bytes), bytes.length);
      assert.equal(await file.seek(-10, Deno.SeekMode.End), 999_990);
      const buffer = new Uint8Array(100);
      assert.equal(await file.read(buffer), 10);
      assert.deepEqual(buffer.subarray(0, 10), bytes.subarray(-10));
      assert.equal(await file.read(buffer), null);
      await file.seek(5n, Deno.SeekMode.Start);
      await Promise.all([file.write(bytesOf("AB")), file.write(bytesOf("C"))]);
      assert.equal(await file.seek(-1, Deno.SeekMode.Current), 7);
      await file.truncate(8);
      await file.syncData();
      await file.sync();
      assert.equal((await file.stat()).size, 8);
      await file.utime(1, 2);
      await rejects(file.seek(-1, Deno.SeekMode.Start), "invalid_option", /byte -1/);
    }
    assert.deepEqual(Deno.readFileSync(path).subarray(5), bytesOf("ABC"));
    const appended = await fs.open(path, { append: true });
    const writer = appended.writable.getWriter();
    for (const part of ["1", "22", "333"]) await writer.write(bytesOf(part));
    await writer.close();
    await assert.rejects(appended.stat(), Deno.errors.BadResource);
    await fs.truncate(path, 4);
    assert.equal(Deno.statSync(path).size, 4);
    await fs.writeFile(path, bytes);
    const file = await fs.open(path);
    await file.seek(3, Deno.SeekMode.Start);
    const read = new Uint8Array(await new Response(file.readable).arrayBuffer());
    assert.deepEqual(read, bytes.subarray(3));
    await using fifo = await fs.open("/dev/zero");
    assert.equal(await fifo.read(new Uint8Array(10)), 10);
    await rejects(fifo.seek(0, Deno.SeekMode.Start), "invalid_option", /no positions/);
  }],
  ["makes, copies, links and removes", async ({ fs, dir }) => {
    await fs.mkdir("a/b/../c//d/", { recursive: true });
    await fs.mkdir("a/b", { recursive: true });
    await assert.rejects(fs.mkdir("a/b"), Deno.errors.AlreadyExists);
    await fs.writeFile("a/f", noise(500_000));
    await fs.copyFile("a/f", "a/g");
    await fs.copyFile("a/g", "a/g"); // itself
    await fs.copyFile("/proc/self/status", "a/status");
    assert.deepEqual(Deno.readFileSync(join(dir, "a/g")), noise(500_000));
    assert.ok(Deno.statSync(join(dir, "a/status")).size > 100);
    await assert.rejects(fs.copyFile("a", "x"), Deno.errors.IsADirectory);
    await assert.rejects(fs.writeTextFile("a/status/x", ""), Deno.errors.NotADirectory);
    await fs.link("a/f", "a/h");
    assert.equal(Deno.statSync(join(dir, "a/h")).nlink, 2);
    await fs.mkdir("kept");
    await fs.writeTextFile("kept/it", "kept");
    await fs.symlink("../kept", "a/to");
    await fs.remove("a/h");
    await fs.remove("a", { recursive: true });
    assert.equal(await fs.readTextFile("kept/it"), "kept"); // links aren't followed
    await fs.symlink("kept", "link");
    await fs.remove("link", { recursive: true });
    const [file, folder] = [
      await fs.makeTempFile({ dir, suffix: ".x" }),
      await fs.makeTempDir({ dir, prefix: "p" }),
    ];
    assert.match(file, /\/[0-9a-f]{12}\.x$/);
    assert.equal((Deno.statSync(file).mode ?? 0) & 0o777, 0o600);
    assert.equal((Deno.statSync(folder).mode ?? 0) & 0o777, 0o700);
    // Deeper than a path can be: made in steps, and removed at once.
    const name = "d".repeat(200);
    for (let inner = join(dir, "deep"), i = 0; i < 25; i++) {
      await fs.mkdir(`${inner}/${name}/${name}`, { recursive: true });
      await fs.rename(inner, join(dir, "was"));
      await fs.mkdir(inner);
      await fs.rename(join(dir, "was"), `${inner}/${name}`);
    }
    await fs.remove("deep", { recursive: true });
    assert.deepEqual((await all(fs.readDir("."))).map(({ name }) => name).length, 3);
  }],
  ["watches, and closes cleanly", async ({ fs, dir }) => {
    await using watcher = fs.watch(dir);
    await watcher.ready;
    const events = watcher[Symbol.asyncIterator]();
    const made = new Set<string>();
    const next = async (...wanted: string[]) => {
      for (const each of wanted) {
        let told: string;
        do { // what is made in a new folder may be told twice
          const { value, done } = await events.next();
          assert.ok(!done);
          told = `${value.kind} ${value.paths.map((path: string) => path.slice(dir.length))}`;
        } while (made.has(told));
        assert.equal(told, each);
        if (told.startsWith("create")) made.add(told);
      }
    };
    await fs.mkdir("x/y", { recursive: true });
    await next("create /x", "create /x/y");
    await fs.writeTextFile("x/y/f", "1");
    await next("create /x/y/f", "modify /x/y/f", "access /x/y/f");
    await fs.rename("x", "z");
    await next("rename /x,/z");
    await fs.chmod("z/y/f", 0o600);
    await next("modify /z/y/f");
    Deno.writeTextFileSync(join(dir, "z/y/g"), "");
    await next("create /z/y/g", "access /z/y/g");
    await fs.remove("z/y/g");
    await next("remove /z/y/g");
    await using outside = new TempFolder();
    await fs.rename("z", join(outside.path, "z"));
    await next("rename /z");
    await fs.writeTextFile(join(outside.path, "z/y/g"), ""); // no news of it
    await fs.symlink("n", "last");
    await next("create /last");
    const waiting = events.next();
    await watcher.close();
    assert.equal((await waiting).done, true);
    await using none = fs.watch(join(dir, "no"));
    await assert.rejects(none.ready, Deno.errors.NotFound);
    await assert.rejects(all(none), Deno.errors.NotFound);
    await using top = fs.watch([dir], { recursive: false, signal: AbortSignal.timeout(60_000) });
    await top.ready;
    await fs.mkdir("new/in", { recursive: true });
    for await (const { kind, paths } of top) {
      assert.deepEqual([kind, paths], ["create", [join(dir, "new")]]);
      break;
    }
  }],
];

testFiles("BoxFiles by way of the real agent", cases);

async function failure(promise: Promise<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("it didn't fail");
}

/** Frames that the program must not take, and its last words. */
const mangled: readonly (readonly [string, Uint8Array<ArrayBuffer>, RegExp])[] = [
  ["a head of 4 GiB", bytesOf(255, 255, 255, 255, 0, 0, 0, 0), /head is too long/],
  ["no head", bytesOf(0, 0, 0, 0, 0, 0, 0, 1, 0), /head is too long/],
  ["data of 4 GiB", bytesOf(0, 0, 0, 1, 255, 255, 255, 255), /data is too long/],
  ["no CBOR", bytesOf(0, 0, 0, 1, 0, 0, 0, 0, 0xff), /isn't a CBOR map/],
  ["an end within", bytesOf(0, 0, 0, 9, 0, 0, 0, 0, 0xa1), /input ends/],
  ["an empty map", bytesOf(0, 0, 0, 1, 0, 0, 0, 0, 0xa0), /id or op is missing/],
];

Deno.test(`the agent's program files ends over what isn't a request${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using agent = await NativeAgent.start();
  for (const [name, bytes, words] of mangled) {
    const stream = agent.peer.exec(["files"], { stdin: true, more: { builtin: "files" } });
    stream.input(bytes, true);
    const { exit, stderr } = await stream.outcome();
    assert.deepEqual(exit, { code: 2, signal: null, timedOut: false }, name);
    assert.match(stderr, words, name);
  }
  const stream = agent.peer.exec(["files"], { stdin: true, more: { builtin: "files" } });
  stream.input(new Uint8Array(0), true);
  assert.partialDeepStrictEqual((await stream.outcome()).exit, { code: 0 });
});
