import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Box, Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { FileLock } from "../../src/file_lock.ts";
import { filesIn } from "../box/snapshot_model.ts";
import { engineDouble } from "../doubles/engine.ts";
import { assertNoBoxLeft, untilNoProcess } from "../support/leftovers.ts";
import "../support/native.ts";
import { needs, runTool } from "../support/tools.ts";
import { diesAtPoints } from "./each_point.ts";

const VICTIM = fileURLToPath(new URL("./archives_victim.ts", import.meta.url));
const tools = needs("qemu-img", "debugfs", "e2fsck");
const IMAGE = "team/app:1";
/** What the victim does, in its order. */
const DEEDS = ["committed", "exported", "imported", "moved", "recommitted", "replaced"];

Deno.test(
  `kill -9 at any write leaves images made of boxes, and archives, whole or not there${tools.note}`,
  { ignore: tools.ignore },
  () =>
    diesAtPoints({
      victim: VICTIM,
      every: Number(Deno.env.get("CRASH_EVERY") ?? 110),
      counts: (deed) => DEEDS.includes(deed),
      check,
    }),
);

/** What there is is whole, each deed can be done again, and in the end nothing is left. */
async function check(home: string, deed: string): Promise<void> {
  await untilNoProcess(home);
  /** Whether a deed was done by then. */
  const done = (name: string) => DEEDS.indexOf(name) < DEEDS.indexOf(deed);
  const sha256 = await Deno.readTextFile(join(home, "sha256"));
  const archive = join(home, "out", "first.hutch");
  await inHome(home, async (runtime) => {
    const boxes = await boxesOf(runtime);
    const names = boxes.map(({ name }) => name).sort();
    assert.deepEqual(names.filter((name) => name !== "imported"), ["first"]);
    if (done("imported")) assert.equal(names.length, 2);
    for (const box of boxes) {
      await box.start(); // finishes what was begun
      await box.stop();
      await assertDisk(runtime, box, sha256);
    }
    const images = (await runtime.images.list()).filter(({ reference }) => /team/.test(reference));
    if (done("committed")) assert.equal(images.length, 1);
    if (done("recommitted")) assert.deepEqual(images[0]?.config.cmd, ["two"]);
    for (const { reference } of images) await assertWhole(runtime, reference);
    if (done("exported")) assert.ok(await exists(archive));
    const [first] = boxes.filter(({ name }) => name === "first");
    assert.ok(first);
    // What is there is whole, and so is what is made again.
    const there = await exists(archive);
    for (const again of there ? ["before", "after"] : ["after"]) {
      if (again === "after") await first.export(archive);
      const { box } = await runtime.import(archive, { name: again });
      await assertDisk(runtime, box, sha256);
    }
    await first.commit(IMAGE);
    await assertWhole(runtime, IMAGE);
    const partial = filesIn(join(home, "blobs", "partial"));
    assert.deepEqual(partial.filter((name) => name.startsWith("new-")), []);
    assert.deepEqual(filesIn(join(home, "out")), ["first.hutch"]);
    await inHome(join(home, "other"), async (other) => {
      const boxes = await boxesOf(other);
      assert.ok(boxes.length <= 1);
      if (done("moved")) assert.equal(boxes.length, 1);
      const { box } = await other.import(archive, { name: "again" });
      for (const each of [...boxes, box]) await assertDisk(other, each, sha256);
      await clearHome(other);
    });
    await clearHome(runtime);
  });
}

/** Opens a home, and looks that nothing is left at its end. */
async function inHome(home: string, use: (runtime: Runtime) => Promise<void>): Promise<void> {
  const log: string[] = [];
  {
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ overlay: true, diskSwitch: true })],
      log: (line) => log.push(line),
    });
    await use(runtime);
  }
  // The double's network ends with its box, at once.
  assert.deepEqual(log.filter((line) => !line.startsWith("network of box")), []);
  for (const folder of ["backing", "disks", "blobs/partial", "blobs/sha256", "blobs/uses"]) {
    assert.deepEqual(filesIn(join(home, folder)), [], folder);
  }
  await assertNoBoxLeft(home, []);
}

async function boxesOf(runtime: Runtime): Promise<Box[]> {
  const list = await runtime.list({ all: true });
  return await Promise.all(list.map(({ id }) => runtime.get(id)));
}

/** Removes all that was made. */
async function clearHome(runtime: Runtime): Promise<void> {
  for (const box of await boxesOf(runtime)) await box.remove({ force: true });
  // Downloads may be gone on with for an hour.
  const partial = join(runtime.home, "blobs", "partial");
  for (const name of filesIn(partial)) await Deno.utime(join(partial, name), 0, 0);
  await runtime.images.prune({ all: true });
  assert.deepEqual(await runtime.images.list({ all: true }), []);
}

/** Its disk is sound, and has what was written. */
async function assertDisk(runtime: Runtime, box: Box, sha256: string): Promise<void> {
  const folder = join(runtime.home, "boxes", box.id);
  using _held = await FileLock.acquire(join(folder, "operation.lock"));
  const [disk, raw] = [join(folder, "disk.qcow2"), join(folder, "raw.tmp")];
  await runTool("qemu-img", "check", "-q", disk);
  await runTool("qemu-img", "convert", "-O", "raw", disk, raw);
  const [base = ""] = filesIn(join(runtime.home, "disks")).filter((name) => /\.ext4$/.test(name));
  const { size } = await Deno.stat(join(runtime.home, "disks", base));
  await Deno.truncate(raw, size);
  await runTool("e2fsck", "-fn", raw);
  const hash = createHash("sha256").update(await Deno.readFile(raw)).digest("hex");
  await Deno.remove(raw);
  assert.equal(hash, sha256, box.name);
}

/** It can be used: all that it is made of has its digest. */
async function assertWhole(runtime: Runtime, image: string): Promise<void> {
  await runtime.images.save([image], { to: new WritableStream() });
  assert.equal((await runtime.images.history(image)).at(-1)?.createdBy, "hutch commit first");
}
