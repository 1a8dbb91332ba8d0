import assert from "node:assert/strict";
import { join } from "node:path";
import { readExitFile, writeExitFile } from "../../src/vmm/machine_file.ts";
import { TempFolder } from "../support/temp.ts";

Deno.test("writeExitFile keeps the reason that was given first", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "exit.json");
  writeExitFile(path, "guest", { message: "it ended by itself" });
  writeExitFile(path, "killed");
  assert.partialDeepStrictEqual(readExitFile(path), {
    reason: "guest",
    message: "it ended by itself",
  });
});

Deno.test("writeExitFile throws when there is no such folder", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "none", "exit.json");
  assert.throws(() => writeExitFile(path, "killed"), Deno.errors.NotFound);
});

Deno.test("readExitFile takes a file that isn't whole, or says nothing known, for none", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "exit.json");
  assert.equal(readExitFile(path), undefined);
  for (const text of ["", '{"reason":"kil', '{"reason":"bored","message":"","at":""}']) {
    Deno.writeTextFileSync(path, text);
    assert.equal(readExitFile(path), undefined);
  }
});
