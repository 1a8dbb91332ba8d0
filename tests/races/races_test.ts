import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type BoxStatus, Runtime } from "../../mod.ts";
import { boxPaths, pathsOf } from "../../src/runtime/paths.ts";
import { isAlive } from "../../src/vmm/machine.ts";
import { engineDouble } from "../doubles/engine.ts";
import { assertNoBoxLeft } from "../support/leftovers.ts";
import { processesOf, until } from "../support/processes.ts";
import { TempFolder } from "../support/temp.ts";

const RACER = fileURLToPath(new URL("./racer.ts", import.meta.url));
/** More, and other, rounds than a gate has time for: `RACE_ROUNDS=100 RACE_SEED=7 deno test …`. */
const ROUNDS = Number(Deno.env.get("RACE_ROUNDS") ?? 3);
const SEED = Number(Deno.env.get("RACE_SEED") ?? 1);
const STEPS = 20;
/** What takes longer hangs. */
const LIMIT_MS = 120_000;

for (let round = SEED; round < SEED + ROUNDS; round++) {
  Deno.test(`Runtime stays true while two processes work on the same boxes, seed ${round}`, async () => {
    await using home = new TempFolder();
    await using _left = {
      // The boxes are detached: nothing else would end them when something here isn't as it should be.
      async [Symbol.asyncDispose]() {
        for (const { pid } of await processesOf(home.path)) Deno.kill(pid, "SIGKILL");
      },
    };
    const worked = await Promise.all([1, 2].map((one) => race(home.path, round * 10 + one)));
    assert.ok(worked.some((deeds) => Object.keys(deeds).length > 3), JSON.stringify(worked));
    const ids = new Set<string>();
    {
      await using runtime = await Runtime.open({
        home: home.path,
        plugins: [engineDouble({ overlay: true })],
      });
      const boxes = await runtime.list({ all: true });
      const running = boxes.filter(({ status }) => isActive(status));
      for (const { id, status } of boxes) {
        ids.add(id);
        assert.ok(
          ["configured", "running", "paused", "stopped", "failed"].includes(status),
          status,
        );
        const { lockPath } = boxPaths(pathsOf(home.path), id);
        assert.equal(isAlive(lockPath), isActive(status), `it is ${status}`);
      }
      await until(
        async () => (await boxProcesses(home.path)).length === running.length,
        async () => `not ${running.length}: ${JSON.stringify(await boxProcesses(home.path))}`,
      );
      for (const { id, status } of boxes) {
        const box = await runtime.get(id);
        if (status === "paused") await box.resume();
        assert.equal((await box.exec("echo", ["here"])).stdout, "here\n");
        await box.remove({ force: true });
      }
    }
    await assertNoBoxLeft(home.path, ids);
  });
}

function isActive(status: BoxStatus): boolean {
  return status === "running" || status === "paused";
}

async function race(home: string, seed: number): Promise<Readonly<Record<string, number>>> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", RACER, String(seed), String(STEPS)],
    env: { HUTCH_HOME: home },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  try {
    const { code, stdout, stderr } = await child.output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return JSON.parse(new TextDecoder().decode(stdout));
  } finally {
    clearTimeout(timer);
  }
}

async function boxProcesses(home: string): Promise<readonly { readonly pid: number }[]> {
  return (await processesOf(home)).filter(({ command }) => /\/box_process\.[jt]s\b/.test(command));
}
