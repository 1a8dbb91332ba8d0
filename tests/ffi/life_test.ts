import assert from "node:assert/strict";
import { join } from "node:path";
import { BoxLife } from "../../ffi/life.ts";
import { boxLibraryPath } from "../../ffi/library.ts";
import { FileLock } from "../../src/file_lock.ts";
import { exists } from "../../src/atomic_file.ts";
import { TempFolder } from "../support/temp.ts";

const library = boxLibraryPath();

Deno.test("a box process's lock is one that other programs see, and goes with its file", async () => {
  await using folder = new TempFolder();
  const [lock, stale] = [join(folder.path, "lock"), join(folder.path, "stale")];
  await Deno.writeTextFile(stale, "of the one before");
  {
    using life = BoxLife.begin(library, lock, stale);
    assert.ok(life);
    assert.equal(await exists(stale), false);
    assert.equal(FileLock.isHeld(lock), true);
    assert.equal((await Deno.stat(lock)).mode! & 0o777, 0o600);
    await Deno.writeTextFile(stale, "of the one that lives");
    assert.equal(BoxLife.begin(library, lock, stale), undefined);
    assert.equal(FileLock.try(lock), undefined);
    assert.equal(await exists(stale), true);
  }
  assert.equal(await exists(lock), false);
  using held = FileLock.try(lock);
  assert.ok(held);
  assert.equal(BoxLife.begin(library, lock, stale), undefined);
});

Deno.test("the file of a lock that has become somebody else's stays", async () => {
  await using folder = new TempFolder();
  const [lock, stale] = [join(folder.path, "lock"), join(folder.path, "stale")];
  {
    using _life = BoxLife.begin(library, lock, stale);
    await Deno.remove(lock);
    await Deno.writeTextFile(lock, "somebody else's");
  }
  assert.equal(await Deno.readTextFile(lock), "somebody else's");
});

Deno.test("files are removed whether or not all are there, and what can't be is told", async () => {
  await using folder = new TempFolder();
  const path = (name: string) => join(folder.path, name);
  for (const name of ["a", "c"]) await Deno.writeTextFile(path(name), "");
  await Deno.mkdir(path("folder"));
  using life = BoxLife.begin(library, path("lock"), path("none")) ?? assert.fail("it is locked");
  life.remove([]);
  assert.throws(
    () => life.remove([path("a"), path("b"), path("folder"), path("c")]),
    /can be removed: errno \d+$/,
  );
  const left = [...Deno.readDirSync(folder.path)].map(({ name }) => name);
  assert.deepEqual(left.sort(), ["folder", "lock"]);
});

Deno.test("a lock that can't be made, or a file that can't be removed, is told; nothing stays locked", async () => {
  await using folder = new TempFolder();
  const lock = join(folder.path, "lock");
  const nowhere = join(folder.path, "nothing", "lock");
  assert.throws(() => BoxLife.begin(library, nowhere, lock), /can't be locked.*errno 2$/);
  await Deno.mkdir(join(folder.path, "stale"));
  assert.throws(() => BoxLife.begin(library, lock, join(folder.path, "stale")), /errno \d+$/);
  assert.equal(await exists(lock), false);
});
