import assert from "node:assert/strict";
import { type Box, Runtime } from "../../mod.ts";
import { pathsOf } from "../../src/runtime/paths.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { untilNoProcess } from "../support/leftovers.ts";
import { TempFolder } from "../support/temp.ts";

const ENDS = {
  "Symbol.asyncDispose": (box: Box) => box[Symbol.asyncDispose](),
  stop: (box: Box) => box.stop(),
  kill: (box: Box) => box.kill(),
};

for (const [name, end] of Object.entries(ENDS)) {
  Deno.test(`Box.${name} doesn't mind that another program removes the box meanwhile`, async () => {
    await using home = new TempFolder();
    await using other = await Runtime.open({ home: home.path });
    let faster = 0;
    const race = {
      name: "race",
      operations: {
        remove: {
          before: async (_input: { force: boolean }, { box }: { box: Box | undefined }) => {
            faster++;
            await (await other.get(box?.id ?? "")).remove({ force: true });
          },
        },
      },
    };
    await using runtime = await Runtime.open({ home: home.path, plugins: [race] });
    const box = await runtime.create({ image: "builtin:busybox" });
    await end(box);
    assert.equal(faster, 1);
    assert.deepEqual(await runtime.list({ all: true }), []);
  });
}

for (const then of ["fail", "end"]) {
  Deno.test(`a box process leaves no socket when its box is removed as it begins: it is to ${then}`, async () => {
    const home = await makeDoubleHome();
    try {
      const runner = import.meta.resolve("./vanishing_runner.ts");
      await using runtime = await Runtime.open({
        home,
        plugins: [engineDouble({ runner, parts: () => ({ then }) })],
      });
      const box = await runtime.create(DOUBLE_BOX);
      await assert.rejects(box.start());
      await untilNoProcess(home);
      const left = [...Deno.readDirSync(pathsOf(home).sockets)]
        .map(({ name }) => name).filter((name) => name.startsWith(box.id));
      assert.deepEqual(left, []);
      assert.deepEqual(await runtime.list({ all: true }), []); // it ends with its program
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
}
