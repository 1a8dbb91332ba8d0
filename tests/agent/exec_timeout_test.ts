import assert from "node:assert/strict";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";

const cc = needs("cc");

function agentTest(name: string, body: (agent: NativeAgent) => Promise<void>): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using agent = await NativeAgent.start();
    await body(agent);
  });
}

agentTest("ends a command that takes too long, and says so", async ({ peer }) => {
  const { exit, order } = await peer.exec(["sleep", "1000"], {
    more: { timeoutMs: 1, graceMs: 60_000 },
  }).outcome();
  assert.deepEqual(exit, { code: null, signal: "SIGTERM", timedOut: true });
  assert.equal(order.at(-1), "CLOSE");
});

agentTest("lets a command that takes too long say its last words", async ({ peer }) => {
  const { exit, stdout } = await peer.shell(
    "trap 'echo bye; exit 3' TERM; while :; do sleep 0.05; done",
    { more: { timeoutMs: 1500, graceMs: 60_000 } },
  );
  assert.deepEqual([exit, stdout], [{ code: 3, signal: null, timedOut: true }, "bye\n"]);
});

agentTest("kills what ignores TERM, children of its group included", async ({ peer }) => {
  const { exit } = await peer.shell(
    "trap '' TERM; sleep 1000 & sleep 1000",
    { more: { timeoutMs: 1500, graceMs: 1 } },
  );
  assert.deepEqual(exit, { code: null, signal: "SIGKILL", timedOut: true });
});

agentTest("kills at once without a grace", async ({ peer }) => {
  const { exit } = await peer.shell("trap 'exit 3' TERM; while :; do sleep 0.05; done", {
    more: { timeoutMs: 200, graceMs: 0 },
  });
  assert.deepEqual(exit, { code: null, signal: "SIGKILL", timedOut: true });
});

agentTest("wakes a stopped command to end it", async ({ peer }) => {
  const { exit } = await peer.shell("kill -STOP $$; echo never", {
    more: { timeoutMs: 200, graceMs: 60_000 },
  });
  assert.deepEqual(exit, { code: null, signal: "SIGTERM", timedOut: true });
});

agentTest("leaves a command alone that ends in time", async (agent) => {
  const { peer } = agent;
  await peer.open({ op: "ping" }).outcome();
  const before = [...Deno.readDirSync(`/proc/${agent.pid}/fd`)].length;
  const all = Array.from(
    { length: 20 },
    () => peer.exec(["true"], { more: { timeoutMs: 2 ** 31 - 1, graceMs: 0 } }).outcome(),
  );
  for (const { exit } of await Promise.all(all)) {
    assert.deepEqual(exit, { code: 0, signal: null, timedOut: false });
  }
  // The clocks of commands that ended or couldn't start are gone.
  const failed = await peer.exec(["no-such"], { more: { timeoutMs: 9999, graceMs: 0 } }).outcome();
  assert.partialDeepStrictEqual(failed.error, { kind: "not_found" });
  const closed = peer.exec(["sleep", "1000"], { more: { timeoutMs: 99_999, graceMs: 0 } });
  assert.deepEqual((await closed.outcome("REPLY")).order, ["REPLY"]);
  closed.close();
  await closed.outcome();
  assert.equal([...Deno.readDirSync(`/proc/${agent.pid}/fd`)].length, before);
});
