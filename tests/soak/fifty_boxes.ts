/**
 * Fifty boxes of 64 MiB at once on the engine under test, as `tests/e2e/support.ts` is told
 * it. Tells how long it took and how much memory the machine gave.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Runtime } from "../../mod.ts";
import { BOX, processesOf, TEST_ENGINE, withHome } from "../e2e/support.ts";

const COUNT = Number(Deno.env.get("SOAK_BOXES") ?? 50);
/** Boots at once: more than there are processors wait for each other. */
const AT_ONCE = Math.max(2, navigator.hardwareConcurrency);

Deno.test(`Runtime holds ${COUNT} boxes of 64 MiB at once on ${TEST_ENGINE}, and closing ends them`, () =>
  withHome(async (home) => {
    const before = availableMiB();
    const started = performance.now();
    {
      await using runtime = await Runtime.open({ home });
      let next = 0;
      const boot = async () => {
        for (let index = next++; index < COUNT; index = next++) {
          const options = { ...BOX, memory: 64, autoRemove: true, bootTimeoutMs: 300_000 };
          await (await runtime.create({ ...options, name: `box${index}` })).start();
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, boot));
      tell("booted", started);
      assert.equal((await runtime.list()).length, COUNT);

      const asked = performance.now();
      await Promise.all(Array.from({ length: COUNT }, async (_, index) => {
        const box = await runtime.get(`box${index}`);
        const { stdout } = await box.exec("sh", [
          "-c",
          "hostname; awk '/MemTotal/{print $2}' /proc/meminfo",
        ]);
        const [hostname, total] = stdout.split("\n");
        assert.equal(hostname, `box${index}`);
        assert.ok(Number(total) < 64 * 1024, `${total} KiB`);
      }));
      tell("answered", asked);

      const processes = await processesOf(home);
      console.log(`${processes.length} processes, PSS ${await pssMiB(processes)} MiB;`);
      console.log(`the machine has ${before - availableMiB()} MiB less than before`);
    }
    tell("all in all", started);
    await using again = await Runtime.open({ home });
    assert.deepEqual(await again.list({ all: true }), []);
  }));

function tell(what: string, from: number): void {
  console.log(`${COUNT} boxes ${what}: ${Math.round(performance.now() - from) / 1000} s`);
}

function availableMiB(): number {
  return Math.round(Deno.systemMemoryInfo().available / 2 ** 20);
}

/** Memory of processes, what they share divided among them. */
async function pssMiB(processes: readonly { readonly pid: number }[]): Promise<number> {
  let kib = 0;
  for (const { pid } of processes) {
    const text = await Deno.readTextFile(`/proc/${pid}/smaps_rollup`).catch(() => "");
    kib += Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0);
  }
  return Math.round(kib / 1024);
}
