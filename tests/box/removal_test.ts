import assert from "node:assert/strict";
import { type Box, Runtime } from "../../mod.ts";
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
