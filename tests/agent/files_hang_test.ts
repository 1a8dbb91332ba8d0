/** Operations that hang, by way of the real agent: they hold up nothing else. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { until } from "../support/processes.ts";
import { type FilesCase, testFiles } from "./files_place.ts";

const cases: readonly FilesCase[] = [
  ["is held up by nothing that hangs", async ({ fs, dir }) => {
    const [fifo, other] = [join(dir, "fifo"), join(dir, "other")];
    assert.ok((await new Deno.Command("mkfifo", { args: [fifo, other] }).output()).success);
    const giveUp = new AbortController();
    const opening = Array.from({ length: 6 }, () => fs.open(fifo, { signal: giveUp.signal }));
    const ends = Promise.allSettled(opening);
    await fs.writeTextFile("beside", "x");
    assert.equal(await fs.readTextFile("beside"), "x");
    giveUp.abort(new Error("enough"));
    for (const end of await ends) {
      assert.deepEqual(end, { status: "rejected", reason: giveUp.signal.reason });
    }
    // Whoever waits is answered; and more that hang than there are threads are no end.
    const many = new AbortController();
    const hanging = Array.from({ length: 9 }, () => fs.readFile(fifo, { signal: many.signal }));
    const over = Promise.allSettled(hanging);
    many.abort();
    await over;
    assert.equal(await fs.readTextFile("beside"), "x");
    const [read] = await Promise.all([fs.readTextFile(other), fs.writeTextFile(other, "through")]);
    assert.equal(read, "through");
  }],
  ["answers what was asked while many hang that are given up then", async ({ fs, dir }) => {
    const fifo = makeFifo(dir);
    const giveUp = new AbortController();
    await fs.stat(dir); // the guest's program is there
    const hanging = Array.from({ length: 20 }, () => fs.readFile(fifo, { signal: giveUp.signal }));
    const over = Promise.allSettled(hanging);
    const [stat, open] = [fs.stat(dir), fs.open(dir)];
    await new Promise((go) => setTimeout(go)); // all is sent that is sent at all
    giveUp.abort(new Error("enough"));
    for (const end of await over) {
      assert.deepEqual(end, { status: "rejected", reason: giveUp.signal.reason });
    }
    assert.equal((await bounded(stat)).isDirectory, true);
    await (await bounded(open)).close();
  }],
  ["answers what was asked while many hang that nobody gives up", async ({ fs, dir }) => {
    const fifo = makeFifo(dir);
    const giveUp = new AbortController();
    const path = join(dir, "file");
    await using file = await fs.open(path, { write: true, createNew: true }); // where they hang
    const hanging = Array.from({ length: 40 }, () => fs.readFile(fifo, { signal: giveUp.signal }));
    const over = Promise.allSettled(hanging);
    const stat = fs.stat(dir);
    await file.write(new Uint8Array(3)); // there are threads for open files
    assert.equal((await bounded(stat)).isDirectory, true);
    await bounded(fs.writeTextFile(fifo, "through"));
    const first = await bounded(Promise.any(hanging));
    assert.ok(first.length <= "through".length);
    giveUp.abort();
    await over;
    assert.equal((await file.stat()).size, 3);
  }],
  ["does much at once", async ({ fs, dir }) => {
    const names = Array.from({ length: 500 }, (_, i) => join(dir, String(i)));
    await Promise.all(names.map((name) => fs.writeTextFile(name, name)));
    assert.deepEqual(await Promise.all(names.map((name) => fs.readTextFile(name))), names);
  }],
];

function makeFifo(dir: string): string {
  const fifo = join(dir, "fifo");
  const { success } = new Deno.Command("mkfifo", { args: [fifo] }).outputSync();
  assert.ok(success);
  return fifo;
}

/** What comes of it; fails if that is nothing, not even an error. */
async function bounded<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  const over = () => settled = true;
  promise.then(over, over);
  await until(() => Promise.resolve(settled), () => Promise.resolve("it is pending for ever"));
  return await promise;
}

testFiles("BoxFiles is held up by nothing", cases);
