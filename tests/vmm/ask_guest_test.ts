import assert from "node:assert/strict";
import { answers, askToShutDown } from "../../src/vmm/ask_guest.ts";
import { BoxDouble } from "../doubles/box.ts";
import { runProgram } from "../doubles/agent.ts";

Deno.test("answers tells a guest that answers soon, and doesn't count as activity", async () => {
  await using box = await BoxDouble.start();
  assert.equal(await answers(box.relay.guest, Infinity), true);
  assert.equal(box.relay.state.idleSinceMs, undefined, "nobody has used it");
  assert.deepEqual(box.agent.violations, []);
});

Deno.test("answers waits for a guest that is slow, with one question", async () => {
  const resumed = Promise.withResolvers<void>();
  await using box = await BoxDouble.start({
    open: async (stream) => {
      await resumed.promise;
      await runProgram(stream);
    },
  });
  const asked = answers(box.relay.guest, 0);
  while (box.agent.opened.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  resumed.resolve();
  assert.equal(await asked, false, "it answered, but not within 0 ms");
  assert.equal(box.agent.opened.length, 1);
});

Deno.test("answers tells a guest that is gone", async () => {
  await using box = await BoxDouble.make();
  const asked = answers(box.relay.guest, Infinity);
  box.relay.close();
  assert.equal(await asked, false);
  assert.equal(await answers(box.relay.guest, Infinity), false);
});

Deno.test("askToShutDown asks, and waits until the guest is gone", async () => {
  const ops: unknown[] = [];
  await using box = await BoxDouble.start({
    open: (stream) => {
      ops.push(stream.fields.get("op"), stream.fields.get("graceMs"));
      return runProgram(stream);
    },
  });
  await askToShutDown(box.relay.guest);
  assert.deepEqual(ops, ["shutdown", 2000]);
  assert.equal((await box.relay.ended).why, "agent_closed");
});
