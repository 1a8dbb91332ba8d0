import assert from "node:assert/strict";
import { importsOf } from "../../scripts/checks/scan.ts";
import { after } from "../../src/vmm/timer.ts";

Deno.test("after calls once, in the order of the times, and not what was disposed of", async () => {
  const called: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  after(40, () => {
    called.push("last");
    resolve();
  });
  after(1, () => called.push("first"));
  after(20, () => called.push("never"))[Symbol.dispose]();
  await promise;
  assert.deepEqual(called, ["first", "last"]);
});

Deno.test("after keeps its process until it has called or was disposed of, and no collector takes it", async () => {
  const module = import.meta.resolve("../../src/vmm/timer.ts");
  const script = `
    const { after } = await import(${JSON.stringify(module)});
    for (let n = 0; n < 20; n++) after(50, () => console.log(n));
    after(600_000, () => console.log("late"))[Symbol.dispose]();
    gc({ type: "major", flavor: "last-resort" });`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--no-lock", "--v8-flags=--expose-gc", script],
    signal: AbortSignal.timeout(60_000),
  }).output();
  assert.equal(new TextDecoder().decode(stdout).trim().split("\n").length, 20);
});

Deno.test("what a box process loads names no timer of Node's, and nothing else of Node", () => {
  const seen = new Set<string>();
  const visit = (url: string) => {
    if (seen.has(url)) return;
    seen.add(url);
    const text = Deno.readTextFileSync(new URL(url));
    assert.doesNotMatch(text, /\b(?:set|clear)(?:Timeout|Interval)\(/, url);
    for (const { specifier, typeOnly } of importsOf(text)) {
      if (typeOnly) continue;
      assert.match(specifier, /^\.\.?\//, url);
      visit(new URL(specifier, url).href);
    }
  };
  visit(import.meta.resolve("../../src/vmm/box_process.ts"));
  for (const engine of ["qemu", "libkrun"]) {
    visit(import.meta.resolve(`../../plugins/engines/${engine}_runner.ts`));
  }
  assert.ok(seen.size > 30);
});
