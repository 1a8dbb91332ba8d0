import assert from "node:assert/strict";
import { join } from "node:path";
import { pruneBoots } from "../../src/init/preboot.ts";
import { TempFolder } from "../support/temp.ts";

Deno.test("pruneBoots keeps the eight kinds of boots that were used last, and touches nothing else", async () => {
  await using folder = new TempFolder();
  const names = Array.from({ length: 11 }, (_, n) => n.toString(16).padStart(32, "0"));
  for (const [n, name] of names.entries()) {
    await Deno.mkdir(join(folder.path, name));
    await Deno.writeTextFile(join(folder.path, `${name}.seen`), "{}");
    const record = join(folder.path, name, "memory.json");
    await Deno.writeTextFile(record, "{}");
    const used = new Date(Date.UTC(2026, 0, 1 + (n * 7) % names.length));
    await Deno.utime(record, used, used);
  }
  await Deno.mkdir(join(folder.path, "making"));
  await pruneBoots(folder.path);
  const kept = names.filter((_, n) => (n * 7) % names.length >= 3);
  const expected = [...kept, ...kept.map((name) => `${name}.seen`), "making"].sort();
  assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name).sort(), expected);
});
