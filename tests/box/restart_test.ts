import assert from "node:assert/strict";
import type { BoxStatus } from "../../src/box/options.ts";
import { decideRestart, restartRule } from "../../src/box/restart.ts";

const ended = (status: BoxStatus, exitCode: number | null = null) => ({ status, exitCode });

Deno.test("restartRule reads Docker's policies", () => {
  assert.deepEqual(restartRule("no"), { when: "never", most: 0 });
  assert.deepEqual(restartRule("always"), { when: "always", most: Infinity });
  assert.deepEqual(restartRule("on-failure"), { when: "failure", most: Infinity });
  assert.deepEqual(restartRule("on-failure:12"), { when: "failure", most: 12 });
  for (const none of ["", "on-failure:", "on-failure:0", "on-failure:-1", "on-failure:1x", "yes"]) {
    assert.equal(restartRule(none), undefined, none);
  }
});

Deno.test("decideRestart restarts what the policy says, after any end or after failures alone", () => {
  const restarts = (policy: "no" | "always" | "on-failure") =>
    (["stopped", "crashed", "failed"] as const)
      .filter((status) => decideRestart(policy, ended(status), 0).restart);
  assert.deepEqual(restarts("no"), []);
  assert.deepEqual(restarts("always"), ["stopped", "crashed", "failed"]);
  assert.deepEqual(restarts("on-failure"), ["crashed", "failed"]);
});

Deno.test("decideRestart waits twice as long each time in a row, up to a minute", () => {
  const delays = [0, 1, 2, 9, 10, 2000].map((row) => {
    const decision = decideRestart("always", ended("stopped"), row);
    return decision.restart && decision.delayMs;
  });
  assert.deepEqual(delays, [100, 200, 400, 51_200, 60_000, 60_000]);
});

Deno.test("decideRestart gives up after so many in a row, and says so", () => {
  assert.equal(decideRestart("on-failure:2", ended("crashed"), 1).restart, true);
  assert.deepEqual(decideRestart("on-failure:2", ended("failed"), 2), {
    restart: false,
    reason: "restarted 2 times in a row, and its policy on-failure:2 allows no more",
  });
  assert.deepEqual(decideRestart("on-failure:1", ended("crashed"), 1), {
    restart: false,
    reason: "restarted once, and its policy on-failure:1 allows no more",
  });
  assert.deepEqual(decideRestart("on-failure:1", ended("stopped"), 1), {
    restart: false,
    reason: null,
  });
});

Deno.test("decideRestart goes by the main command's exit code", () => {
  const restarts = (policy: "no" | "always" | "on-failure", code: number) =>
    decideRestart(policy, ended("stopped", code), 0).restart;
  assert.deepEqual([0, 1, 137].map((code) => restarts("on-failure", code)), [false, true, true]);
  assert.deepEqual([0, 1].map((code) => restarts("always", code)), [true, true]);
  assert.deepEqual([0, 1].map((code) => restarts("no", code)), [false, false]);
});
