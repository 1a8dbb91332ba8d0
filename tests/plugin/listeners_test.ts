import assert from "node:assert/strict";
import { ListenerQueue, type Telling } from "../../src/plugin/listeners.ts";

/** A queue, and what it says of failures. */
function queue(options: { readonly patienceMs?: number; readonly mostWaiting?: number }) {
  const failures: [string, string | undefined, string][] = [];
  const failed = ({ type, box }: Telling, message: string) => failures.push([type, box, message]);
  return { failures, queue: new ListenerQueue({ failed, ...options }) };
}

Deno.test("ListenerQueue leaves a listener behind that hangs, and tells the next event", async () => {
  const { queue: listeners, failures } = queue({ patienceMs: 5 });
  const told: string[] = [];
  const hanging = Promise.withResolvers<void>();
  listeners.add({ type: "box.started", box: "b", tell: () => hanging.promise });
  listeners.add({ type: "box.stopped", box: "b", tell: () => told.push("stopped") });
  const alive = setTimeout(() => {}, 10_000); // its own patience keeps no program alive
  await listeners.drained();
  clearTimeout(alive);
  assert.deepEqual(told, ["stopped"]);
  const late = "it did not return within 5 ms; going on without it";
  assert.deepEqual(failures, [["box.started", "b", late]]);
  hanging.reject(new Error("at last")); // which isn't lost either
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(failures.slice(1), [["box.started", "b", "at last"]]);
});

Deno.test("ListenerQueue goes on after listeners that throw and reject, one event after the other", async () => {
  const { queue: listeners, failures } = queue({});
  const told: string[] = [];
  const first = Promise.withResolvers<void>();
  listeners.add({ type: "a", tell: () => first.promise.then(() => told.push("a")) });
  listeners.add({ type: "b", tell: () => assert.fail("thrown") });
  listeners.add({ type: "c", tell: () => Promise.reject(new Error("rejected")) });
  listeners.add({ type: "d", tell: () => told.push("d") });
  assert.deepEqual(told, [], "whoever adds isn't held up");
  first.resolve();
  await listeners.drained();
  assert.deepEqual(told, ["a", "d"]);
  assert.deepEqual(failures, [["b", undefined, "thrown"], ["c", undefined, "rejected"]]);
});

Deno.test("ListenerQueue drops the oldest events of a listener that is too slow, and says how many", async () => {
  const { queue: listeners, failures } = queue({ mostWaiting: 3 });
  const told: number[] = [];
  const slow = Promise.withResolvers<void>();
  listeners.add({ type: "slow", tell: () => slow.promise });
  await Promise.resolve(); // it has been taken
  await Promise.resolve();
  for (let n = 0; n < 10; n++) {
    listeners.add({ type: "event", box: `${n}`, tell: () => told.push(n) });
  }
  slow.resolve();
  await listeners.drained();
  assert.deepEqual(told, [7, 8, 9]);
  assert.deepEqual(failures, [["event", undefined, "it is too slow: 7 events were dropped"]]);
  listeners.add({ type: "event", tell: () => told.push(10) });
  await listeners.drained();
  assert.deepEqual([told.length, failures.length], [4, 1], "which is said once");
});
