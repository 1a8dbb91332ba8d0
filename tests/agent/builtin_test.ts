import assert from "node:assert/strict";
import { decodeCbor } from "../../src/deps.ts";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";

const cc = needs("cc");

/** A test with an agent of its own. */
function agentTest(name: string, body: (agent: NativeAgent) => Promise<void>): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using agent = await NativeAgent.start();
    await body(agent);
  });
}

agentTest("runs its own program metrics", async ({ peer }) => {
  const stream = peer.exec(["metrics"], { env: [], more: { builtin: "metrics" } });
  const outcome = await stream.outcome();
  assert.deepEqual(outcome.exit, { code: 0, signal: null, timedOut: false });
  assert.equal(outcome.stderr, "");
  const metrics = decodeCbor<Record<string, Record<string, number>>>(outcome.raw);
  const { cpu, loadMilli, memory, disk, network, processes } = metrics;
  assert.equal(cpu?.count, navigator.hardwareConcurrency);
  assert((cpu.userMs ?? 0) > 0 && (cpu.idleMs ?? 0) > 0);
  assert(typeof loadMilli?.minute === "number");
  const total = Deno.systemMemoryInfo().total;
  assert.equal(memory?.totalBytes, total);
  assert((memory.availableBytes ?? total) < total);
  assert((disk?.totalBytes ?? 0) > 0 && (disk?.availableBytes ?? NaN) <= (disk?.totalBytes ?? 0));
  assert(network && "lo" in network);
  assert((processes?.count ?? 0) >= 1 && (processes?.threads ?? 0) >= (processes?.count ?? 0));
});

agentTest("runs its own programs as it runs others", async ({ peer }) => {
  const builtin = { builtin: "metrics" };
  const cwd = await peer.exec(["metrics"], { cwd: "/nope", more: builtin }).outcome();
  assert.partialDeepStrictEqual(cwd.error, { kind: "bad_cwd" });
  const user = await peer.exec(["metrics"], { user: "nobody-of-that-name", more: builtin })
    .outcome();
  assert.partialDeepStrictEqual(user.error, { kind: "no_such_user" });
  const limited = await peer.exec(["metrics"], {
    more: { ...builtin, rlimits: { fsize: [0, 0], nofile: [3, 3] } },
  }).outcome();
  assert.deepEqual(limited.exit, { code: 0, signal: null, timedOut: false });
  assert.deepEqual(Object.keys(decodeCbor<Record<string, unknown>>(limited.raw)), [
    "disk", // all the rest needs a fourth descriptor
  ]);
});

agentTest("refuses programs of its own that it doesn't have", async ({ peer }) => {
  for (const builtin of ["", "metric", "metricss", "/bin/sh"]) {
    const { error, order } = await peer.exec(["sh"], { more: { builtin } }).outcome();
    assert.partialDeepStrictEqual(error, { kind: "bad_request" }, builtin);
    assert.deepEqual(order, ["ERROR", "CLOSE"]);
  }
  assert.equal((await peer.shell("echo on")).stdout, "on\n");
});
