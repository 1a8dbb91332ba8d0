import assert from "node:assert/strict";
import { keepLimits, LimitWatch } from "../../src/vmm/limits.ts";

const NEVER = { maxDurationMs: null, idleTimeoutMs: null };

/** Looks every `step` from `from` on; gives when a limit was reached, and which. */
function run(
  watch: LimitWatch,
  { from, to, step, idle }: {
    from: number;
    to: number;
    step: number;
    idle: (now: number) => number | undefined;
  },
): [number, string] | undefined {
  for (let now = from; now <= to; now += step) {
    const limit = watch.look(now, idle(now));
    if (limit) return [now, limit];
  }
  return undefined;
}

Deno.test("LimitWatch looks for nothing where there are no limits", () => {
  assert.equal(new LimitWatch(NEVER, 0).waitMs(0), undefined);
});

Deno.test("LimitWatch ends a machine at its longest life, busy or not", () => {
  const watch = new LimitWatch({ ...NEVER, maxDurationMs: 2500 }, 1000);
  assert.equal(watch.waitMs(1000), 1000);
  assert.equal(watch.waitMs(3300), 200);
  assert.equal(watch.waitMs(9999), 1, "it never waits for nothing");
  const found = run(watch, { from: 1100, to: 9000, step: 100, idle: () => undefined });
  assert.deepEqual(found, [3500, "age"]);
});

Deno.test("LimitWatch counts the longest life also while the process was stopped", () => {
  const watch = new LimitWatch({ ...NEVER, maxDurationMs: 60_000 }, 0);
  assert.equal(watch.look(59_999, undefined), undefined);
  assert.equal(watch.look(500_000, undefined), "age");
});

Deno.test("LimitWatch ends an idle machine, and counts from the last stream's end", () => {
  const limits = { ...NEVER, idleTimeoutMs: 2000 };
  assert.equal(new LimitWatch(limits, 0).waitMs(0), 500);
  const idle = (now: number) => now < 5000 ? undefined : 5000;
  const found = run(new LimitWatch(limits, 0), { from: 0, to: 20_000, step: 500, idle });
  assert.deepEqual(found, [7000, "idle"]);
});

Deno.test("LimitWatch never finds a busy machine idle", () => {
  const watch = new LimitWatch({ ...NEVER, idleTimeoutMs: 10 }, 0);
  const found = run(watch, { from: 0, to: 10_000, step: 5, idle: () => undefined });
  assert.equal(found, undefined);
});

Deno.test("LimitWatch doesn't count time as idle in which the process was stopped", () => {
  const watch = new LimitWatch({ ...NEVER, idleTimeoutMs: 4000 }, 0);
  const idle = () => 0;
  assert.equal(run(watch, { from: 0, to: 3000, step: 500, idle }), undefined);
  const found = run(watch, { from: 103_000, to: 120_000, step: 500, idle });
  assert.deepEqual(found, [104_000, "idle"], "3 s before the stop and 1 s after it");
});

Deno.test("LimitWatch adds up idle time before and after a stop from the last stream's end on", () => {
  const watch = new LimitWatch({ ...NEVER, idleTimeoutMs: 4000 }, 0);
  const idle = (now: number) => now < 2000 ? undefined : 2000;
  assert.equal(run(watch, { from: 0, to: 3000, step: 500, idle }), undefined);
  const found = run(watch, { from: 103_000, to: 120_000, step: 500, idle });
  assert.deepEqual(found, [106_000, "idle"], "1 s before the stop and 3 s after it");
});

Deno.test("LimitWatch waits again from when the machine was active after all", () => {
  const watch = new LimitWatch({ ...NEVER, idleTimeoutMs: 1000 }, 0);
  assert.equal(watch.look(1000, 0), "idle");
  watch.wasActive(900);
  watch.wasActive(400); // no news
  assert.equal(watch.look(1800, 0), undefined);
  assert.equal(watch.look(1900, 0), "idle");
});

Deno.test("keepLimits ends no machine as idle that doesn't answer, such as a paused one", async () => {
  const reached = Promise.withResolvers<string>();
  const answers = [false, false, true];
  keepLimits({
    limits: { ...NEVER, idleTimeoutMs: 5 },
    idleSinceMs: () => 0,
    answers: () => Promise.resolve(answers.shift() ?? assert.fail("it was asked too often")),
    reached: reached.resolve,
  });
  assert.equal(await reached.promise, "it was idle for 0.005 s");
  assert.deepEqual(answers, []);
});

Deno.test("keepLimits lets a machine live whose network carries something, asked but rarely", async () => {
  const reached = Promise.withResolvers<string>();
  const quiet = [0, 10, 29, 1000];
  const from = performance.now();
  keepLimits({
    limits: { ...NEVER, idleTimeoutMs: 30 },
    idleSinceMs: () => 0,
    answers: () => Promise.resolve(true),
    networkQuietMs: () => Promise.resolve(quiet.shift() ?? assert.fail("it was asked too often")),
    reached: reached.resolve,
  });
  assert.equal(await reached.promise, "it was idle for 0.03 s");
  assert.deepEqual(quiet, []);
  assert.ok(performance.now() - from >= 30 + 30 + 20 + 1);
});

Deno.test("keepLimits ends no machine as idle whose network doesn't answer", async () => {
  const reached = Promise.withResolvers<string>();
  let asked = 0;
  keepLimits({
    limits: { maxDurationMs: 200, idleTimeoutMs: 5 },
    idleSinceMs: () => 0,
    answers: () => Promise.resolve(true),
    networkQuietMs: () =>
      ++asked === 1 ? Promise.reject(new Error("it ended")) : new Promise(() => {}),
    reached: reached.resolve,
  });
  assert.equal(await reached.promise, "its maximum duration of 0.2 s ended");
  assert.equal(asked, 2, "and isn't asked anew");
});

Deno.test("keepLimits lets a machine live that somebody uses while it is asked", async () => {
  const reached = Promise.withResolvers<string>();
  let asked = 0;
  let idle: number | undefined = 0;
  keepLimits({
    limits: { ...NEVER, idleTimeoutMs: 5 },
    idleSinceMs: () => idle,
    answers: () => {
      // A command comes and goes.
      if (asked++ === 0) idle = performance.now();
      return Promise.resolve(true);
    },
    reached: reached.resolve,
  });
  await reached.promise;
  assert.equal(asked, 2);
});

Deno.test("keepLimits ends a machine at its longest life without asking it", async () => {
  const reached = Promise.withResolvers<string>();
  keepLimits({
    limits: { ...NEVER, maxDurationMs: 5 },
    idleSinceMs: () => undefined,
    answers: () => assert.fail("it was asked"),
    reached: reached.resolve,
  });
  assert.equal(await reached.promise, "its maximum duration of 0.005 s ended");
});
