import assert from "node:assert/strict";
import { type Box, definePlugin, HutchError, type Plugin, Runtime, StartError } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { TempFolder } from "../support/temp.ts";

const BOX = { image: "builtin:busybox", memory: 128, disk: 64, engine: "double", name: "one" };
const STAGES = ["layout", "image", "network", "boot", "connect", "configure"] as const;
const enough = new Error("enough");

async function withBox(body: (box: Box) => Promise<void>, ...more: Plugin[]): Promise<void> {
  await using home = new TempFolder();
  const plugins = [...more, engineDouble({ overlay: true })]; // the first one is the outermost
  await using runtime = await Runtime.open({ home: home.path, plugins });
  await using box = await runtime.create(BOX);
  await body(box);
}

/** Lets the first start be at a stage for as long as it takes. */
function gate(stage: typeof STAGES[number], isDeaf = false) {
  const [reached, opened] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const before = async (_input: unknown, { signal }: { readonly signal: AbortSignal }) => {
    reached.resolve();
    const { promise, reject } = Promise.withResolvers<never>();
    if (!isDeaf) signal.addEventListener("abort", () => reject(signal.reason));
    await Promise.race([opened.promise, promise]);
  };
  const plugin = definePlugin({ name: "gate", stages: { [stage]: { before } } });
  return { plugin, reached: reached.promise, open: opened.resolve };
}

/** Waits for a failure, which must be that its asker gave up. */
async function givesUp(work: Promise<unknown>, reason: unknown, problem: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, "cancelled", error.message);
    assert.equal(error.cause, reason);
    assert.match(error.message, problem);
    return true;
  });
}

for (const stage of STAGES) {
  Deno.test(`Box.exec and Box.start reject with cancelled for who aborts in stage ${stage}`, async () => {
    for (const isDeaf of [false, true]) {
      const { plugin, reached, open } = gate(stage, isDeaf);
      await withBox(async (box) => {
        const controller = new AbortController();
        const { signal } = controller;
        const asked = isDeaf ? box.start({ signal }) : box.exec("true", [], { signal }).then();
        await reached;
        controller.abort(enough);
        if (isDeaf) open();
        await givesUp(asked, enough, /^Cannot (start|reach) box "one": it was cancelled$/);
        const { status, reason } = await box.info();
        assert.equal(status, "failed");
        assert.match(reason ?? "", /it was cancelled/);
        open();
        assert.equal((await box.exec("echo", ["on"])).stdout, "on\n");
      }, plugin);
    }
  });
}

Deno.test("Box.start goes on for the others when one of them aborts, who gets cancelled", async () => {
  const { plugin, reached, open } = gate("boot");
  await withBox(async (box) => {
    const controller = new AbortController();
    const gone = box.exec("true", [], { signal: controller.signal }).then();
    await reached;
    const stays = box.start();
    controller.abort();
    await givesUp(gone, controller.signal.reason, /"one": it was cancelled$/);
    assert.equal((await box.info()).status, "starting");
    open();
    await stays;
    assert.equal((await box.info()).status, "running");
  }, plugin);
});

Deno.test("Box.start begins nothing for one who has aborted before", () =>
  withBox(async (box) => {
    const signal = AbortSignal.abort(enough);
    await givesUp(box.start({ signal }), enough, /^Cannot start box "one"/);
    await givesUp(box.exec("true", [], { signal }).then(), enough, /^Cannot run "true"/);
    await assert.rejects(box.fetch(80, "/", { signal }), (error) => error === enough);
    assert.equal((await box.info()).status, "configured");
  }));

Deno.test("Box.start still names the stage of a failure that nobody asked for", async () => {
  const boot = { before: () => Promise.reject(new Error("no power")) };
  const plugin = definePlugin({ name: "broken", stages: { boot } });
  await withBox(async (box) => {
    const { signal } = new AbortController();
    await assert.rejects(box.start({ signal }), (error) => {
      assert.ok(error instanceof StartError);
      assert.deepEqual([error.code, error.stage], ["plugin_failed", "boot"]);
      return true;
    });
  }, plugin);
});

Deno.test("Box.exec gives the signal's reason as the cause where a command runs already", () =>
  withBox(async (box) => {
    const controller = new AbortController();
    const execution = box.exec("wait", [], { signal: controller.signal });
    await execution.started;
    controller.abort(enough);
    await givesUp(execution.then(), enough, /^Cannot run "wait": it was cancelled/);
  }));
