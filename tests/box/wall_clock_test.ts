/**
 * Boxes under a wall clock that is set by days all the time, in their programs and their box processes: what
 * lasts so long does so.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Box, type BoxOptions, Runtime } from "../../mod.ts";
import { engineDouble } from "../doubles/engine.ts";
import { DOUBLE_BOX, makeDoubleHome } from "../doubles/home.ts";
import { makeDateWild } from "../doubles/wild_date.ts";
import "../support/native.ts";

/** Long on any machine, and nothing to a clock that is days off, in `ms`. */
const SOON_MS = 60_000;

interface Lasting {
  readonly options: Partial<BoxOptions>;
  /** So long at least, in `ms`. */
  readonly leastMs: number;
  /** Waits for its end. */
  readonly over: (box: Box, events: ReturnType<Runtime["events"]>) => Promise<void>;
}

const STUBBORN = { main: ["stubborn"] };

const LASTING: Readonly<Record<string, Lasting>> = {
  "its longest life": {
    options: { maxDurationMs: 1500 },
    leastMs: 1500,
    over: async (box) => assert.match((await box.wait()).reason ?? "", /maximum duration of 1.5 s/),
  },
  "its idle time": {
    options: { idleTimeoutMs: 1000 },
    leastMs: 1000,
    over: async (box) => assert.match((await box.wait()).reason ?? "", /idle for 1 s/),
  },
  "the start period of its health checks": {
    options: {
      health: { command: ["exit", "1"], intervalMs: 50, retries: 2, startPeriodMs: 1500 },
    },
    leastMs: 1500,
    over: async (box, events) => {
      for await (const event of events) {
        if (event.type === "box.health" && event.box === box.id) {
          return assert.equal(event.health, "unhealthy");
        }
      }
    },
  },
  "the grace of its stop": {
    options: STUBBORN,
    leastMs: 1000,
    over: async (box) => {
      await box.stop({ timeoutMs: 1000 });
      assert.equal((await box.info()).exitCode, 137);
    },
  },
  "a detached command": {
    options: {},
    leastMs: 0,
    over: async (box) => {
      await box.exec("true", [], { detached: true }).started;
      for (;;) {
        const [{ startedAt, endedAt } = { startedAt: "", endedAt: null }] = await box.executions();
        if (endedAt === null) continue;
        const ms = Date.parse(endedAt) - Date.parse(startedAt);
        return assert.ok(ms >= 0 && ms < SOON_MS, `${ms} ms`);
      }
    },
  },
  "the waits between its restarts": {
    options: { main: ["exit", "3"], restart: "on-failure:3" },
    leastMs: 100 + 200 + 400,
    over: async (box) => {
      while (!(await box.wait()).reason?.includes("allows no more")) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      assert.equal((await box.info()).restarts, 3);
    },
  },
};

for (const days of [1, -1]) {
  const where = days > 0 ? "on" : "back";
  Deno.test(`a box's times last as long as they do when the wall clock is put ${where}`, (t) =>
    lasts(t, days));
}

/** All of them, side by side, with each look at the clock so many days after the one before. */
async function lasts(t: Deno.TestContext, days: number): Promise<void> {
  const home = await makeDoubleHome();
  try {
    using _wild = makeDateWild(days);
    const runner = import.meta.resolve("../doubles/wild_runner.ts");
    await using runtime = await Runtime.open({
      home,
      plugins: [engineDouble({ runner, parts: () => ({ days: String(days) }) })],
    });
    const over = new AbortController();
    await Promise.all(
      Object.entries(LASTING).map(([name, { options, leastMs, over: until }], index) =>
        t.step({
          name,
          sanitizeOps: false, // they go on side by side
          sanitizeResources: false,
          sanitizeExit: false,
          async fn() {
            const box = await runtime.create({ ...DOUBLE_BOX, name: `box${index}`, ...options });
            const events = runtime.events({ signal: over.signal });
            const from = performance.now();
            await box.start();
            await until(box, events);
            const ms = performance.now() - from;
            assert.ok(ms >= leastMs && ms < SOON_MS, `${ms} ms`);
            await box.remove({ force: true });
          },
        })
      ),
    );
    over.abort();
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}
