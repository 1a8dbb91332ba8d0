import assert from "node:assert/strict";
import { join } from "node:path";
import { Runtime } from "../../mod.ts";
import { FileLock } from "../../src/file_lock.ts";
import { TempFolder } from "../support/temp.ts";

Deno.test("Runtime.list clears away folders of boxes that no record knows, and no others", async () => {
  await using folder = new TempFolder();
  await using runtime = await Runtime.open({ home: folder.path });
  const boxes = join(folder.path, "boxes");
  for (const name of ["aaaaaaaaaaaa", "bbbbbbbbbbbb.removed", "cccccccccccc", "somebody's"]) {
    await Deno.mkdir(join(boxes, name));
  }
  using _owner = await FileLock.acquire(join(boxes, "cccccccccccc", "owner.lock"));
  assert.deepEqual(await runtime.list({ all: true }), []);
  const left = [...Deno.readDirSync(boxes)].map(({ name }) => name).sort();
  assert.deepEqual(left, ["cccccccccccc", "somebody's"]);
});

Deno.test("Runtime.list clears away what one left that died as it shortened a chain", async () => {
  await using folder = new TempFolder();
  await using runtime = await Runtime.open({ home: folder.path });
  const path = join(folder.path, "shorten.lock");
  {
    using _lock = await FileLock.acquire(path);
    await runtime.list({ all: true });
    await Deno.stat(path);
  }
  await Deno.writeTextFile(path, "");
  await runtime.list({ all: true });
  await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
});

Deno.test("Runtime.list keeps a folder that may hold a box's data, and one that is being worked in", async () => {
  await using folder = new TempFolder();
  const logged: string[] = [];
  await using runtime = await Runtime.open({
    home: folder.path,
    log: (line) => logged.push(line),
  });
  const boxes = join(folder.path, "boxes");
  for (const name of ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "dddddddddddd.removed"]) {
    await Deno.mkdir(join(boxes, name));
    await Deno.writeTextFile(join(boxes, name, "box.json"), "{}");
  }
  await Deno.writeTextFile(join(boxes, "aaaaaaaaaaaa", "disk.qcow2"), "");
  await Deno.writeTextFile(join(boxes, "dddddddddddd.removed", "disk.qcow2"), "");
  using _operation = await FileLock.acquire(join(boxes, "cccccccccccc", "operation.lock"));
  await runtime.list({ all: true });
  const left = [...Deno.readDirSync(boxes)].map(({ name }) => name).sort();
  assert.deepEqual(left, ["aaaaaaaaaaaa", "cccccccccccc"]);
  assert.equal(logged.length, 1);
  assert.match(logged[0] ?? "", /aaaaaaaaaaaa holds a box that has no record.*doctor --repair/);
});

Deno.test("Runtime.create makes a box whose folder another program was about to clear away", async () => {
  await using folder = new TempFolder();
  const logged: string[] = [];
  const log = (line: string) => void logged.push(line);
  await using runtime = await Runtime.open({ home: folder.path, log });
  await using other = await Runtime.open({ home: folder.path, log });
  let over = false;
  const looking = (async () => {
    while (!over) await other.list({ all: true });
  })();
  try {
    for (let times = 0; times < 60; times++) {
      const box = await runtime.create({ image: "builtin:busybox" });
      assert.equal((await box.info()).status, "configured");
      await box.remove();
    }
  } finally {
    over = true;
    await looking;
  }
  assert.deepEqual(logged, []);
});

Deno.test("Runtime.list clears away what an import left that was killed before its record", async () => {
  await using home = new TempFolder();
  const logged: string[] = [];
  await using runtime = await Runtime.open({
    home: home.path,
    log: (line) => void logged.push(line),
  });
  const folder = join(home.path, "boxes", "0123456789ab");
  await Deno.mkdir(folder, { recursive: true });
  for (const name of ["box.json", "disk.qcow2", "import.new"]) {
    await Deno.writeTextFile(join(folder, name), "{}");
  }
  await runtime.list({ all: true });
  assert.deepEqual([...Deno.readDirSync(join(home.path, "boxes"))], []);
  assert.deepEqual(logged, []);
});
