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
