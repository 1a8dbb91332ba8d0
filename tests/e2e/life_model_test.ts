import assert from "node:assert/strict";
import { Runtime } from "../../mod.ts";
import { playLife } from "../contracts/life_model.ts";
import { BOX, makeHome, TEST_ENGINE } from "./support.ts";

/** What a short run comes to; another version of fast-check may need another seed for it. */
const WANTED = [
  ...["start of stopped", "crash of running", "exec of crashed"],
  ...["pause of running", "resume of paused"],
];

Deno.test(`a box's life is what the table of operations says on ${TEST_ENGINE}`, async () => {
  const changes = await playLife({
    home: makeHome,
    open: (home) => Runtime.open({ home }),
    box: BOX,
    runs: 1,
    steps: 10,
    seed: 2396,
  });
  assert.deepEqual(WANTED.filter((change) => !changes.has(change)), [], [...changes].join(", "));
});
