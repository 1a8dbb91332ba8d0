/**
 * A boot on a machine that is so busy that QEMU gets a few milliseconds at a time: the guest's kernel
 * sees its clock jump between ticks.
 *
 * @module
 */
import assert from "node:assert/strict";
import { BOX, ENGINE, processesOf, until, withRuntime } from "../e2e/support.ts";

/** How long it runs and stands still by turns, in `ms`, and how often. */
const [RUNS_MS, STANDS_MS, TURNS] = [4, 120, 300];

Deno.test("a box boots on a machine that hardly lets it run", () =>
  withRuntime(async (runtime, home) => {
    await using box = await runtime.create({ ...BOX, engine: ENGINE, name: "slow" });
    const started = box.start();
    const machine = async () =>
      (await processesOf(home)).find(({ command }) => command.includes("-kernel"));
    await until(async () => await machine() !== undefined, () => Promise.resolve("no machine"));
    const { pid = 0 } = await machine() ?? {};
    for (let turn = 0; turn < TURNS; turn++) {
      try {
        Deno.kill(pid, "SIGSTOP");
        await new Promise((resolve) => setTimeout(resolve, STANDS_MS));
        Deno.kill(pid, "SIGCONT");
      } catch {
        break; // it has ended, and start says why
      }
      await new Promise((resolve) => setTimeout(resolve, RUNS_MS));
    }
    await started;
    assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
    await box.remove({ force: true });
  }));
