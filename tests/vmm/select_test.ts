import assert from "node:assert/strict";
import type { Engine, EngineReport } from "../../mod.ts";
import { probeEngines, selectEngine } from "../../src/vmm/select.ts";

const NO_KVM = { kvm: () => Promise.resolve({ usable: false, problem: "none" }), versions: false };

function engine(name: string, report: Partial<EngineReport> | Error): Engine {
  return {
    name,
    runner: "data:,",
    probe: () =>
      report instanceof Error ? Promise.reject(report) : Promise.resolve({
        usable: true,
        isolated: true,
        rank: 1,
        parts: {},
        permissions: {},
        found: [],
        ...report,
      }),
  };
}

const pass = () => Promise.resolve(undefined);

Deno.test("selectEngine takes the usable engine with the highest rank", async () => {
  const chosen = await selectEngine(
    "auto",
    [
      engine("low", { rank: 1 }),
      engine("best", { rank: 30, usable: false }),
      engine("mid", { rank: 20 }),
    ],
    NO_KVM,
    pass,
  );
  assert.equal(chosen.engine.name, "mid");
});

Deno.test("selectEngine takes what a plugin chooses among the usable ones", async () => {
  const engines = [engine("a", { rank: 1 }), engine("b", { rank: 2 })];
  const choose = (usable: readonly string[]) => {
    assert.deepEqual(usable, ["b", "a"]);
    return Promise.resolve("a");
  };
  assert.equal((await selectEngine("auto", engines, NO_KVM, choose)).engine.name, "a");
  const wrong = () => Promise.resolve("nonsense");
  assert.equal((await selectEngine("auto", engines, NO_KVM, wrong)).engine.name, "b");
});

Deno.test("selectEngine takes the one asked for, and no other", async () => {
  const engines = [engine("a", { rank: 1 }), engine("b", { rank: 2 })];
  assert.equal((await selectEngine("a", engines, NO_KVM, pass)).engine.name, "a");
  await assert.rejects(selectEngine("c", engines, NO_KVM, pass), {
    code: "invalid_option",
    message: /"c"/,
  });
});

Deno.test("selectEngine says what is missing and how to mend it", async () => {
  const broken = engine("libkrun", {
    usable: false,
    found: [{ name: "libkrun", problem: "it is not installed", remedy: "install it" }],
  });
  await assert.rejects(selectEngine("libkrun", [broken], NO_KVM, pass), {
    code: "engine_unavailable",
    message: 'Cannot use engine "libkrun": libkrun: it is not installed; KVM: none',
    hint: "install it; hutch doctor tells more",
  });
  await assert.rejects(selectEngine("auto", [broken], NO_KVM, pass), {
    code: "engine_unavailable",
    message: /^Cannot use any engine/,
  });
});

Deno.test("probeEngines makes an engine whose probe throws unusable", async () => {
  const [first, second] = await probeEngines(
    [engine("throws", new Error("boom")), engine("fine", {})],
    NO_KVM,
  );
  assert.equal(first?.engine.name, "fine");
  assert.deepEqual(second?.report.found, [{ name: "throws", problem: "its probe failed: boom" }]);
});
