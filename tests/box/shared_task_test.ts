import assert from "node:assert/strict";
import { SharedTask } from "../../src/box/shared_task.ts";

/** Work that a test ends, or that its signal ends. */
function work() {
  const done = Promise.withResolvers<string>();
  const seen: { signal?: AbortSignal } = {};
  const task = new SharedTask((signal) => {
    seen.signal = signal;
    signal.addEventListener("abort", () => done.reject(signal.reason));
    return done.promise;
  });
  return { task, done, seen };
}

Deno.test("SharedTask.join gives everybody the one result", async () => {
  const { task, done } = work();
  const both = [task.join(), task.join(new AbortController().signal)];
  done.resolve("made");
  assert.deepEqual(await Promise.all(both), ["made", "made"]);
  assert.equal(await task.join(), "made");
});

Deno.test("SharedTask.join gives everybody the one failure", async () => {
  const { task, done } = work();
  const both = [task.join(), task.join()];
  done.reject(new Error("no"));
  for (const one of both) await assert.rejects(one, { message: "no" });
});

Deno.test("SharedTask.join lets one who gives up go, and the others go on", async () => {
  const { task, done, seen } = work();
  const [first, second] = [new AbortController(), new AbortController()];
  const gone = task.join(first.signal);
  const stays = task.join(second.signal);
  first.abort(new Error("enough"));
  await assert.rejects(gone, { message: "enough" });
  assert.equal(seen.signal?.aborted, false);
  assert.equal(task.abandoned, false);
  done.resolve("made");
  assert.equal(await stays, "made");
});

Deno.test("SharedTask.join never cancels for one who can't give up", async () => {
  const { task, done, seen } = work();
  const stays = task.join();
  const other = new AbortController();
  const gone = task.join(other.signal);
  other.abort(new Error("enough"));
  await assert.rejects(gone, { message: "enough" });
  assert.equal(seen.signal?.aborted, false);
  done.resolve("made");
  assert.equal(await stays, "made");
});

Deno.test("SharedTask.join cancels when the last one gives up, who hears when it is wound up", async () => {
  const wound = Promise.withResolvers<void>();
  const task = new SharedTask(async (signal) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    await wound.promise;
    throw new Error("wound up");
  });
  const asker = new AbortController();
  let heard = false;
  const last = task.join(asker.signal).catch((error: unknown) => {
    heard = true;
    throw error;
  });
  asker.abort(new Error("enough"));
  assert.equal(task.abandoned, true);
  await Promise.resolve();
  assert.equal(heard, false);
  wound.resolve();
  await assert.rejects(last, { message: "wound up" });
});

Deno.test("SharedTask.join refuses who has given up before, without cancelling", async () => {
  const { task, done, seen } = work();
  await assert.rejects(task.join(AbortSignal.abort(new Error("late"))), { message: "late" });
  assert.equal(seen.signal?.aborted, false);
  done.resolve("made");
  assert.equal(await task.result, "made");
});

Deno.test("SharedTask.join counts nobody once the work is over", async () => {
  const { task, done } = work();
  done.resolve("made");
  const asker = new AbortController();
  assert.equal(await task.join(asker.signal), "made");
  asker.abort();
  assert.equal(task.abandoned, false);
});
