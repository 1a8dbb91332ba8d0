/**
 * Much through commands, and many of them, in one box. `FLOW_MIB` and `FLOW_RUNS` say how much and
 * how many: little here, the real thing in `deno task soak`.
 */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Box } from "../../mod.ts";
import { BOX, TEST_ENGINE, withRuntime } from "./support.ts";

const MIB = 2 ** 20;
const FLOW_MIB = Number(Deno.env.get("FLOW_MIB") ?? 64);
const FLOW_RUNS = Number(Deno.env.get("FLOW_RUNS") ?? 60);
const MOST_HELD = 8 * MIB;
/** What waits to be collected is held by nobody. */
const collectGarbage = gc();
const AT_ONCE = 20;

Deno.test(`Box.exec carries much, and many at once, on ${TEST_ENGINE}`, (test) =>
  withRuntime(async (runtime) => {
    await using box = await runtime.create(BOX);
    await flow(box, 16); // what is made once is there from here on
    await repeat(box, 20);
    for (const [name, body] of cases) await test.step(name, () => body(box));
  }));

const cases: readonly (readonly [string, (box: Box) => Promise<void>])[] = [
  [`${FLOW_MIB} MiB to a slow reader hold neither side's memory`, async (box) => {
    const before = await memoryOf(box);
    const most = await flow(box, FLOW_MIB, before);
    for (const [side, bytes] of Object.entries(most)) {
      console.log(`${FLOW_MIB} MiB: ${side} held ${Math.round(bytes / 1024)} KiB at most`);
      assert(bytes <= MOST_HELD, `${side}: ${bytes} bytes`);
    }
  }],
  ["input larger than all buffers waits for a slow reader", async (box) => {
    const bytes = new Uint8Array(Math.min(FLOW_MIB / 4, 256) * MIB).fill(65);
    const { stdout } = await box.exec("sh", ["-c", "sleep 2; wc -c"], { stdin: bytes });
    assert.equal(Number(stdout), bytes.length);
  }],
  ["200 commands run at once", async (box) => {
    const results = await Promise.all(Array.from({ length: 200 }, async (_, index) => {
      return await box.exec("sh", ["-c", `read x; echo $x-${index}`], { stdin: "in\n" });
    }));
    assert.deepEqual(
      results.map(({ stdout }) => stdout),
      results.map((_, index) => `in-${index}\n`),
    );
  }],
  [`${FLOW_RUNS} commands leave nothing behind on either side`, async (box) => {
    const before = await openFiles(box);
    const memory = await memoryOf(box);
    await repeat(box, FLOW_RUNS);
    assert.deepEqual(await openFiles(box), before);
    const after = await memoryOf(box);
    for (const side of ["box process", "guest"] as const) {
      const grown = after[side] - memory[side];
      console.log(`${FLOW_RUNS} commands: ${side} has ${Math.round(grown / 1024)} KiB more`);
      assert(grown <= MOST_HELD, `${side}: ${grown} bytes more`);
    }
  }],
];

/** Reads slowly what a command writes; gives what was held at most, beyond `base`. */
async function flow(box: Box, mib: number, base?: Memory): Promise<Memory> {
  await using execution = box.exec("dd", ["if=/dev/zero", "bs=256k", `count=${mib * 4}`], {});
  const most: Memory = { "this program": 0, "box process": 0, guest: 0 };
  let got = 0, looked = -Infinity;
  for await (const chunk of execution.stdout) {
    got += chunk.length;
    await new Promise((resolve) => setTimeout(resolve, 0));
    if (!base || got - looked < mib * MIB / 8) continue;
    looked = got;
    await new Promise((resolve) => setTimeout(resolve, 200)); // all that can wait does
    const now = await memoryOf(box);
    for (const side of ["this program", "box process", "guest"] as const) {
      most[side] = Math.max(most[side], now[side] - base[side]);
    }
  }
  assert.equal(got, mib * MIB);
  assert.equal((await execution.status).code, 0);
  return most;
}

/** Commands of each kind, some at once. */
async function repeat(box: Box, count: number): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let run = next++; run < count; run = next++) {
      const kind = run % 4;
      if (kind === 0) await box.exec("true");
      else if (kind === 1) {
        const { stdout } = await box.exec("cat", [], { stdin: `${run}\n` });
        assert.equal(stdout, `${run}\n`);
      } else if (kind === 2) {
        assert.match((await box.exec("tty", [], { tty: true })).stdout, /^\/dev\/pts\/\d+\r\n$/);
      } else {
        await assert.rejects(async () => void await box.exec("/no/such"));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

/** In bytes. */
interface Memory {
  "this program": number;
  "box process": number;
  guest: number;
}

async function memoryOf(box: Box): Promise<Memory> {
  const { pid } = await box.info();
  const rollup = await Deno.readTextFile(`/proc/${pid}/smaps_rollup`);
  collectGarbage();
  const { external, heapUsed } = Deno.memoryUsage();
  // The guest's machine is the box process itself on libkrun: its memory is that process's.
  const own = TEST_ENGINE === "libkrun" ? 0 : numberIn(rollup, /^Pss_Anon:\s+(\d+) kB/m) * 1024;
  const inside = (await box.exec("cat", ["/proc/meminfo"])).stdout;
  const used = numberIn(inside, /^MemTotal:\s+(\d+)/m) -
    numberIn(inside, /^MemAvailable:\s+(\d+)/m);
  return { "this program": external + heapUsed, "box process": own, guest: used * 1024 };
}

/** Open descriptors of this program, the box process, and all of the guest. */
async function openFiles(box: Box): Promise<readonly number[]> {
  const { pid } = await box.info();
  const count = (path: string) => [...Deno.readDirSync(path)].length;
  const inside = await box.exec("cat", ["/proc/sys/fs/file-nr"]);
  return [count("/proc/self/fd"), count(`/proc/${pid}/fd`), Number.parseInt(inside.stdout)];
}

function gc(): () => void {
  setFlagsFromString("--expose-gc");
  const collect: unknown = runInNewContext("gc");
  assert(typeof collect === "function");
  return () => void collect();
}

function numberIn(text: string, pattern: RegExp): number {
  return Number(pattern.exec(text)?.[1] ?? NaN);
}
