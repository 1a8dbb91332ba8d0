/** Numbers that no file operation takes, by way of the real agent: each costs its own call alone. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { BoxFiles } from "../../src/box/files.ts";
import { rejects } from "../support/rejects.ts";
import { all, bytesOf, type FilesCase, noise, testFiles } from "./files_place.ts";

const [u32, safe] = [2 ** 32, Number.MAX_SAFE_INTEGER];
const modes = [NaN, Infinity, 1.5, -1, u32];
const owners = [NaN, Infinity, 1.5, -1, u32 - 1];
const times = [NaN, Infinity, -Infinity, 8.64e12 + 1, safe, -safe];
const counts = [NaN, -Infinity, 1.5, -1, 2 ** 53];

/** One call with one number; `bad` is what it refuses. */
type Taking = readonly [name: string, bad: readonly number[], Call];
type Call = (fs: BoxFiles, value: number) => Promise<unknown>;

const taking: readonly Taking[] = [
  ["writeFile", modes, (fs, mode) => fs.writeTextFile("file", "new", { mode })],
  ["writeFile of much", modes, (fs, mode) => fs.writeFile("file", noise(300_000), { mode })],
  ["mkdir", modes, (fs, mode) => fs.mkdir("made", { mode })],
  ["mkdir of all", modes, (fs, mode) => fs.mkdir("made/in", { mode, recursive: true })],
  ["open", modes, (fs, mode) => fs.open("file", { write: true, truncate: true, mode })],
  ["chmod", modes, (fs, mode) => fs.chmod("file", mode)],
  ["chown of a user", owners, (fs, id) => fs.chown("file", id, null)],
  ["chown of a group", owners, (fs, id) => fs.chown("file", null, id)],
  ["utime", times, (fs, time) => fs.utime("file", time, 0)],
  ["lutime", times, (fs, time) => fs.lutime("file", 0, time)],
  ["utime of a date", [NaN], (fs, time) => fs.utime("file", new Date(time), 0)],
  ["truncate", counts, (fs, length) => fs.truncate("file", length)],
  ["readFile", counts, (fs, maxBytes) => fs.readFile("file", { maxBytes })],
  ["walk", counts, (fs, maxDepth) => all(fs.walk(".", { maxDepth }))],
];

const cases: readonly FilesCase[] = [
  ["refuses what isn't a whole number in range, and harms nothing else", async ({ fs, dir }) => {
    Deno.writeTextFileSync(join(dir, "file"), "kept");
    await using open = await fs.open("file"); // ends with the guest's program
    for (const [name, bad, call] of taking) {
      for (const value of bad) {
        const [beside] = await Promise.all([
          fs.readTextFile("file"),
          rejects(call(fs, value), "invalid_option", /^Cannot .*/).catch((error: unknown) => {
            throw new Error(`${name} of ${value}`, { cause: error });
          }),
        ]);
        assert.equal(beside, "kept");
      }
    }
    assert.deepEqual([...Deno.readDirSync(dir)].map(({ name }) => name), ["file"]);
    assert.equal((await open.stat()).size, 4);
  }],
  ["refuses places in an open file that there can't be", async ({ fs, dir }) => {
    const path = join(dir, "file");
    await using file = await fs.open(path, { read: true, write: true, createNew: true });
    for (const place of [NaN, Infinity, 1.5, -1, 2 ** 53]) {
      await rejects(file.seek(place, Deno.SeekMode.Start), "invalid_option", /Cannot go to byte/);
    }
    for (const length of counts) await rejects(file.truncate(length), "invalid_option", /Cannot/);
    for (const time of times) await rejects(file.utime(time, 0), "invalid_option", /Cannot/);
    await file.seek(safe, Deno.SeekMode.Start);
    await assert.rejects(file.write(noise(300_000))); // its second piece is beyond 2^53
    await file.seek(0, Deno.SeekMode.Start);
    await file.write(bytesOf("fine"));
    assert.equal(Deno.readTextFileSync(path), "fine");
  }],
  ["takes the mode that stat gives, and negative zero for zero", async ({ fs, dir }) => {
    const mode = (name: string) => Deno.statSync(join(dir, name)).mode ?? 0;
    await fs.writeTextFile("file", "x", { mode: 0o100640 });
    await fs.writeFile("much", noise(300_000), { mode: 0o100604 });
    await fs.mkdir("folder", { mode: 0o40750 });
    await fs.mkdir("all/of/it", { mode: u32 - 1 - 0o022, recursive: true });
    await (await fs.open("opened", { write: true, create: true, mode: 0o100600 })).close();
    assert.deepEqual(["file", "much", "folder", "opened"].map(mode), [
      ...[0o100640, 0o100604, 0o40750, 0o100600],
    ]);
    await fs.chmod("file", mode("much"));
    assert.equal(mode("file"), 0o100604);
    if (Deno.uid() === 0) await fs.chown("file", -0, -0);
    await fs.truncate("file", -0);
    await fs.utime("file", -0, -0);
    assert.deepEqual((await fs.readFile("much", { maxBytes: Infinity })).length, 300_000);
  }],
  ["takes times just before a second, and the first and last of a date", async ({ fs, dir }) => {
    Deno.writeTextFileSync(join(dir, "file"), "");
    await fs.utime("file", -1e-20, -Number.MIN_VALUE);
    assert.equal((await fs.stat("file")).mtime?.getTime(), -1);
    await fs.utime("file", -8.64e12, 8.64e12); // what the file system makes of it is its affair
    assert.ok((await fs.stat("file")).mtime);
  }],
];

testFiles("BoxFiles is harmed by no number", cases);
