import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../src/cli/main.ts";
import { TempFolder } from "../support/temp.ts";
import { memoryIo } from "./helpers.ts";

async function init(folder: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const io = memoryIo();
  const code = await main(["init", folder], io);
  return { code, stdout: io.stdout.text, stderr: io.stderr.text };
}

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("hutch init writes two files that import hutch from where it is", async () => {
  await using folder = new TempFolder();
  const made = join(folder.path, "new", "project");
  const { code, stdout, stderr } = await init(made);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(
    stdout,
    /wrote .*box\.ts\nwrote .*hutch\.config\.ts\nrun it: deno run -A .*box\.ts\n$/,
  );
  assert.deepEqual(namesIn(made), ["box.ts", "hutch.config.ts"]);
  const mod = import.meta.resolve("../../mod.ts");
  for (const name of namesIn(made)) {
    assert.ok((await Deno.readTextFile(join(made, name))).includes(`from "${mod}"`), name);
  }
});

Deno.test("hutch init overwrites nothing, and leaves nothing where it can't write all", async () => {
  for (const there of ["box.ts", "hutch.config.ts"]) {
    await using folder = new TempFolder();
    await Deno.writeTextFile(join(folder.path, there), "mine");
    const { code, stderr } = await init(folder.path);
    assert.equal(code, 125);
    assert.match(stderr, new RegExp(`Cannot begin in .*: there is a ${there} already; .*another`));
    assert.deepEqual(namesIn(folder.path), [there]);
    assert.equal(await Deno.readTextFile(join(folder.path, there)), "mine");
  }
});
