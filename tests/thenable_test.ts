import assert from "node:assert/strict";
import type { Copy, Execution, ImagePull, ShellCommand } from "../mod.ts";
import { Thenable } from "../src/thenable.ts";

class Once extends Thenable<number> {
  readonly #result: Promise<number>;

  constructor(result: Promise<number>) {
    super();
    this.#result = result;
  }

  override then<A = number, B = never>(
    fulfilled?: ((result: number) => A | PromiseLike<A>) | null,
    rejected?: ((reason: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.#result.then(fulfilled, rejected);
  }
}

Deno.test("Thenable can be used where a promise can", async () => {
  const good: Promise<number> = new Once(Promise.resolve(7));
  const seen: string[] = [];
  assert.equal(await good.finally(() => seen.push("good")), 7);
  assert.equal(await good.catch(() => 8), 7);
  const bad = () => new Once(Promise.reject(new Error("bad")));
  assert.equal(await bad().catch((reason) => (reason as Error).message), "bad");
  await assert.rejects(bad().finally(() => seen.push("bad")), /^Error: bad$/);
  assert.deepEqual(seen, ["good", "bad"]);
  assert.equal(String(good), "[object Once]");
});

Deno.test("Execution, Copy, ImagePull and ShellCommand are promises by their types", () => {
  const takes = (promise: Promise<unknown>) => promise;
  const check = (all: readonly [Execution, Copy, ImagePull, ShellCommand]) => all.map(takes);
  assert.equal(typeof check, "function");
});
