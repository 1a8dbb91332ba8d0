import assert from "node:assert/strict";
import { join } from "node:path";
import { FileLock } from "../../src/file_lock.ts";
import { BlobUse } from "../../src/images/blobs/blob_use.ts";
import { TempStore } from "../support/temp_store.ts";

Deno.test("ImageStore.sweep removes what died programs left, and nothing that is in use", async () => {
  await using temp = new TempStore();
  const at = (path: string) => join(temp.home, path);
  const old = new Date("2020-01-01");
  const [OLD, BUSY, FRESH] = ["0", "b", "f"].map((digit) => digit.repeat(64));
  const files = [
    "blobs/sha256/kept",
    `blobs/partial/${FRESH}`,
    `blobs/partial/${OLD}`,
    "blobs/partial/free.lock",
    "blobs/partial/load-dead",
    "blobs/partial/load-busy",
    "blobs/partial/load-busy.lock",
    `blobs/partial/${BUSY}`,
    `blobs/partial/${BUSY}.lock`,
    "disks/a.ext4",
    "disks/b.ext4.new",
    "disks/c.ext4.new",
  ];
  for (const folder of ["blobs/sha256", "blobs/partial", "disks"]) {
    await Deno.mkdir(at(folder), { recursive: true });
  }
  for (const path of files) await Deno.writeTextFile(at(path), "x");
  for (const path of ["sha256/kept", `partial/${OLD}`, `partial/${BUSY}`]) {
    await Deno.utime(at(`blobs/${path}`), old, old);
  }
  {
    using download = FileLock.try(at(`blobs/partial/${BUSY}.lock`));
    using load = FileLock.try(at("blobs/partial/load-busy.lock"));
    using disk = FileLock.try(at("disks/c.ext4.lock"));
    assert.ok(download && load && disk);
    await temp.store.sweep();
    assert.deepEqual(temp.files(), [
      `blobs/partial/${BUSY}`,
      `blobs/partial/${BUSY}.lock`,
      `blobs/partial/${FRESH}`,
      "blobs/partial/load-busy",
      "blobs/partial/load-busy.lock",
      "blobs/sha256/kept",
      "disks/a.ext4",
      "disks/c.ext4.lock",
      "disks/c.ext4.new",
    ]);
  }
  await temp.store.sweep();
  assert.deepEqual(temp.files(), [`blobs/partial/${FRESH}`, "blobs/sha256/kept", "disks/a.ext4"]);
});

Deno.test("ImageStore.sweep removes names that dead programs gave, and old halves of references", async () => {
  await using temp = new TempStore();
  const blobs = join(temp.home, "blobs/sha256");
  const references = join(temp.home, "blobs/references");
  for (const folder of [blobs, references]) await Deno.mkdir(folder, { recursive: true });
  for (const name of ["a.json", "a.json.11111111.new", "b.json.22222222.new"]) {
    await Deno.writeTextFile(join(references, name), "x");
  }
  await Deno.utime(join(references, "a.json"), 0, 0);
  await Deno.utime(join(references, "b.json.22222222.new"), 0, 0);
  const uses = join(temp.home, "blobs/uses");
  const signal = new AbortController().signal;
  using use = await BlobUse.share(blobs, signal);
  use.name(["sha256:1"]);
  const [held] = namesOf(uses);
  await Deno.writeTextFile(join(uses, "dead.json"), "[]");
  {
    using _choosing = await BlobUse.share(blobs, signal); // somebody may just name some
    await temp.store.sweep();
    assert.deepEqual(namesOf(uses), ["dead.json", held].sort());
  }
  await temp.store.sweep();
  assert.deepEqual(namesOf(uses), [held]);
  assert.deepEqual(namesOf(references), ["a.json", "a.json.11111111.new"]);
});

function namesOf(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}
