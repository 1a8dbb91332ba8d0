import assert from "node:assert/strict";
import { hutch, RUN, TEST_ENGINE, withHome } from "./support.ts";

const on = `on ${TEST_ENGINE}`;

Deno.test(`hutch run prints what the command prints and leaves nothing with --rm ${on}`, () =>
  withHome(async (home) => {
    const result = await hutch(home, [
      ...["run", "--rm", ...RUN, "builtin:busybox"],
      ...["sh", "-c", "echo hello from $(uname -s); echo beside >&2"],
    ]);
    assert.deepEqual(
      [result.code, result.stdout, result.stderr],
      [0, "hello from Linux\n", "beside\n"],
    );
    const list = await hutch(home, ["ls", "-a", "--json"]);
    assert.deepEqual(JSON.parse(list.stdout), []);
  }));
