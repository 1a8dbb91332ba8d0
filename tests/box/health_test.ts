import assert from "node:assert/strict";
import { type CheckResult, HealthWatch } from "../../src/box/health.ts";
import type { HealthStatus } from "../../src/box/options.ts";

const OK: CheckResult = { ok: true };
const BAD: CheckResult = { ok: false, message: "no" };

/** Health after each result, one every 10 ms, the start period ending at 25 ms. */
function run(
  results: readonly CheckResult[],
  { from = "starting", retries = 2 }: { from?: HealthStatus; retries?: number } = {},
): HealthStatus[] {
  const watch = new HealthWatch({ retries }, { health: from, startEndsMs: 25 });
  let health = from;
  return results.map((result, index) => health = watch.saw(result, index * 10)?.health ?? health);
}

Deno.test("HealthWatch counts no failure in the start period", () => {
  // At 0, 10, 20 in the period; 30 and 40 after it.
  assert.deepEqual(run([BAD, BAD, BAD, BAD, BAD]), [
    "starting",
    "starting",
    "starting",
    "starting",
    "unhealthy",
  ]);
});

Deno.test("HealthWatch is healthy at the first success, which ends the start period", () => {
  assert.deepEqual(run([OK, BAD, BAD]), ["healthy", "healthy", "unhealthy"]);
});

Deno.test("HealthWatch wants failures in a row", () => {
  const twice = [BAD, OK, BAD, OK, BAD, BAD];
  assert.deepEqual(run(twice, { from: "healthy" }).slice(3), ["healthy", "healthy", "unhealthy"]);
});

Deno.test("HealthWatch goes on after unhealthy, and one success mends it", () => {
  assert.deepEqual(run([BAD, OK, BAD, BAD], { from: "unhealthy" }), [
    "unhealthy",
    "healthy",
    "healthy",
    "unhealthy",
  ]);
});

Deno.test("HealthWatch says what changed, once, with failures and the last message", () => {
  const watch = new HealthWatch({ retries: 2 }, { health: "healthy", startEndsMs: 0 });
  assert.equal(watch.saw(OK, 0), undefined);
  assert.equal(watch.saw({ ok: false, message: "first" }, 1), undefined);
  assert.deepEqual(watch.saw({ ok: false, message: "second" }, 2), {
    health: "unhealthy",
    failures: 2,
    message: "second",
  });
  assert.equal(watch.saw(BAD, 3), undefined);
  assert.deepEqual(watch.saw(OK, 4), { health: "healthy", failures: 0, message: "" });
});
