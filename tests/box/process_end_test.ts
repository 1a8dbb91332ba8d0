import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Box, Runtime } from "../../mod.ts";
import { exists } from "../../src/atomic_file.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";

const ENDS = {
  stop: (box: Box) => box.stop(),
  restart: (box: Box) => box.restart(),
  kill: (box: Box) => box.kill(),
  remove: (box: Box) => box.remove({ force: true }),
};

Deno.test("no process of a box is left once its program has ended it", async () => {
  const home = await makeDoubleHome();
  try {
    const runner = import.meta.resolve("../doubles/lingering_runner.ts");
    await using runtime = await Runtime.open({ home, plugins: [engineDouble({ runner })] });
    await Promise.all(
      Object.entries(ENDS).map(async ([name, end]) => {
        const box = await runtime.create({ ...DOUBLE_BOX, name });
        await box.start();
        const { pid } = await box.info();
        assert.ok(pid !== null && await exists(`/proc/${pid}`));
        await end(box);
        assert.ok(!await exists(`/proc/${pid}`), `${name}: process ${pid} is there`);
      }),
    );
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("a box has stopped once its guest is at rest, which may take for ever to restart", async () => {
  const home = await makeDoubleHome();
  try {
    const agent = fileURLToPath(import.meta.resolve("../doubles/resting_process.ts"));
    const double = engineDouble({ parts: () => ({ agent }) });
    const said: string[] = [];
    const log = (line: string) => void said.push(line);
    await using runtime = await Runtime.open({ home, plugins: [double], log });
    await using box = await runtime.create({ ...DOUBLE_BOX, autoRemove: false });
    await box.start();
    await box.stop();
    assert.deepEqual(said, []); // nobody had to be killed
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
