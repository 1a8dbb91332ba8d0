import assert from "node:assert/strict";
import { join } from "node:path";
import { repairHome, Runtime } from "../../mod.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";

Deno.test("a home that no box process could be let into is refused before anything is made", async () => {
  await using folder = new TempFolder();
  for (
    const [home, why] of [
      ["", /Cannot use home .*: its path is empty/],
      [join(folder.path, "a,b"), /Cannot use home .*a,b": it has a comma or a zero byte/],
      [join(folder.path, "a\0b"), /it has a comma or a zero byte/],
    ] as const
  ) {
    const refused = { code: "home_unusable", message: why };
    await assert.rejects(Runtime.open({ home }), refused);
    await assert.rejects(repairHome({ home }), refused);
  }
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});
