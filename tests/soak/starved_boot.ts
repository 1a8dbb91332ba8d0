/**
 * A boot on a machine that is so busy that QEMU gets a few milliseconds at a time: the guest's kernel
 * sees its clock jump between ticks.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";
import { BOX, processesOf, until, withRuntime } from "../e2e/support.ts";

/** How long it runs and stands still by turns, in `ms`, and how often. */
const [RUNS_MS, STANDS_MS, TURNS] = [4, 120, 300];

Deno.test("a box boots on a machine that hardly lets it run", () =>
  withRuntime(async (runtime, home) => {
    await using folder = new TempFolder();
    const program = join(folder.path, "qemu");
    // It stands still before its first instruction.
    const lines = ["#!/bin/sh", "kill -STOP $$", 'exec qemu-system-x86_64 "$@"', ""];
    await Deno.writeTextFile(program, lines.join("\n"), { mode: 0o755 });
    await using box = await runtime.create({ ...BOX, engine: "qemu", name: "slow" });
    Deno.env.set("HUTCH_QEMU", program);
    const started = box.start().finally(() => Deno.env.delete("HUTCH_QEMU"));
    started.catch(() => {}); // it is awaited below
    const standing = async () => {
      for (const { pid, command } of await processesOf(home)) {
        const stat = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
        if (command.includes(program) && stat.includes(") T ")) return pid;
      }
    };
    await until(async () => await standing() !== undefined, () => Promise.resolve("no machine"));
    const pid = await standing() ?? 0;
    try {
      for (let turn = 0; turn < TURNS; turn++) {
        Deno.kill(pid, "SIGCONT");
        await new Promise((resolve) => setTimeout(resolve, RUNS_MS));
        Deno.kill(pid, "SIGSTOP");
        await new Promise((resolve) => setTimeout(resolve, STANDS_MS));
      }
      Deno.kill(pid, "SIGCONT");
    } catch {
      // It has ended, and start says why.
    }
    await started;
    assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
    await box.remove({ force: true });
  }));
