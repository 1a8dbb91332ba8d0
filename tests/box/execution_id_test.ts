import assert from "node:assert/strict";
import { type BoxExecution, HutchError, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { TempFolder } from "../support/temp.ts";

const BOX = { image: "builtin:busybox", memory: 128, disk: 64, engine: "double", name: "one" };

/** What can be done with an execution. */
const uses: readonly ((execution: BoxExecution) => Promise<unknown>)[] = [
  (execution) => execution.status(),
  (execution) => execution.attach().then(),
  (execution) => execution.kill(),
  (execution) => execution.info(),
];

Deno.test("Box.execution says of any id that there is none, and nothing else of the program is harmed", async () => {
  await using home = new TempFolder();
  const plugins = [engineDouble({ overlay: true })];
  await using runtime = await Runtime.open({ home: home.path, plugins });
  await using box = await runtime.create(BOX);
  await using other = box.exec("cat", [], { stdin: "piped" });
  await other.started;
  for (const id of ["0123456789ab", "typo", "", "0123456789AB", "a\nb", "0".repeat(5000)]) {
    const codes = uses.map(async (use) => {
      const error: unknown = await use(box.execution(id)).catch((error: unknown) => error);
      return error instanceof HutchError ? error.code : error;
    });
    assert.deepEqual(await Promise.all(codes), uses.map(() => "execution_not_found"), id);
  }
  const writer = other.stdin.getWriter();
  await writer.write(new TextEncoder().encode("still here"));
  await writer.close();
  assert.equal((await other).stdout, "still here");
  await box.stop();
  await assert.rejects(box.execution("typo").status(), { code: "box_state" });
});
