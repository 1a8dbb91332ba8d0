import assert from "node:assert/strict";
import { join } from "node:path";
import type { BoxMetrics, NetworkCounters, RuntimeMetrics } from "../../mod.ts";
import { main } from "../../src/cli/main.ts";
import { formatStats, watch } from "../../src/cli/stats.ts";
import { TempFolder } from "../support/temp.ts";
import { type HutchResult, memoryIo, MemorySink } from "./helpers.ts";

const MIB = 1024 * 1024;
const EXECS = { started: 7, running: 1, nonzero: 2, failed: 3 };
const NETWORK: NetworkCounters = {
  sentBytes: MIB,
  sentFrames: 10,
  receivedBytes: 3 * MIB,
  receivedFrames: 20,
  lostFrames: 0,
  badFrames: 0,
  spoofedFrames: 0,
  denied: 0,
  flows: 2,
  openFlows: 1,
  dnsQuestions: 1,
  dnsFailures: 0,
};
const BOX: BoxMetrics = {
  id: "0123456789ab",
  name: "web",
  status: "running",
  at: "2026-01-01T00:00:00.000Z",
  cpu: { timeMs: 12_345, percent: 99.94 },
  memory: {
    limitBytes: 512 * MIB,
    residentBytes: 300 * MIB,
    privateBytes: 290 * MIB,
    guestBytes: 200 * MIB,
  },
  disk: { allocatedBytes: 3 * MIB, sizeBytes: 10_240 * MIB },
  guest: {
    cpu: null,
    load: null,
    memory: {
      totalBytes: 500 * MIB,
      freeBytes: 100 * MIB,
      availableBytes: 380 * MIB,
      cachedBytes: 0,
      swapTotalBytes: 0,
      swapFreeBytes: 0,
    },
    disk: null,
    network: null,
    processes: { count: 17, threads: 20 },
  },
  network: NETWORK,
  unavailable: {},
  execs: EXECS,
  starts: { succeeded: 2, failed: 1, lastMs: 900, stages: {} },
};
const RUNTIME: RuntimeMetrics = {
  at: "2026-01-01T00:00:00.000Z",
  boxes: {
    byStatus: { running: 1, stopped: 2 },
    created: 4,
    started: 5,
    stopped: 3,
    failed: 1,
    crashed: 0,
    removed: 1,
  },
  execs: EXECS,
  boot: { count: 5, minMs: 800, meanMs: 900, maxMs: 1_200, lastMs: 900 },
  stages: {},
  images: { pulled: 1, removed: 0 },
  pluginFailures: 0,
  eventsDropped: 0,
};

async function hutchIn(home: string, ...args: readonly string[]): Promise<HutchResult> {
  const io = memoryIo();
  const code = await main(["--home", home, ...args], io);
  return { code, stdout: io.stdout.text, stderr: io.stderr.text };
}

Deno.test("formatStats prints a row per box and the sums of the home", () => {
  const lines = formatStats({ boxes: [BOX], runtime: RUNTIME }).split("\n");
  assert.equal(
    lines[1]?.replace(/ {2,}/g, "  "),
    "0123456789ab  web  running  99.9%  12.3 s  300 MiB  200 MiB / 512 MiB  120 MiB  3 MiB / 10 GiB" +
      "  3 MiB / 1 MiB  17  7  1  3  2  1  0.90 s",
  );
  assert.deepEqual(lines.slice(3), [
    "boxes: 1 running, 2 stopped; so far 4 created, 5 started, 3 stopped, 0 crashed, 1 removed, " +
    "1 starts failed",
    "commands: 1 running; so far 7 started, 3 failed; a start took 0.80 s to 1.20 s, 0.90 s in the mean",
    "",
  ]);
});

Deno.test("formatStats shows what isn't known as such", () => {
  const boxes = [{ ...BOX, cpu: null, memory: null, disk: null, network: null, guest: null }];
  const starts = { ...BOX.starts, lastMs: null };
  const boot = { boxes: [{ ...boxes[0] ?? BOX, starts }], runtime: { ...RUNTIME, boot: null } };
  const [, row = ""] = formatStats(boot).split("\n");
  assert.match(row, /running( +-){8} /);
  assert.match(row, /-$/);
});

Deno.test("watch writes over what it wrote, within the terminal, until it is told to end", async () => {
  const sink = new MemorySink();
  const controller = new AbortController();
  let looks = 0;
  await watch(sink, {
    look: () => {
      if (++looks === 3) controller.abort();
      return Promise.resolve({ boxes: [BOX, BOX, BOX, BOX], runtime: RUNTIME });
    },
    signal: controller.signal,
    size: () => ({ columns: 20, rows: 4 }),
    refreshMs: 1,
  });
  const frames = sink.text.split("\x1b[H").slice(1);
  assert.equal(frames.length, 3);
  for (const frame of frames) {
    const lines = frame.replace("\x1b[J", "").split("\n").slice(0, -1);
    assert.equal(lines.length, 3);
    for (const line of lines) assert.ok(line.replace("\x1b[K", "").length <= 19, line);
  }
});

Deno.test("watch takes a terminal that doesn't know its size for one of 80 columns and 24 rows", async () => {
  const boxes = Array<BoxMetrics>(40).fill(BOX);
  for (const size of [{ columns: 0, rows: 0 }, { columns: 0, rows: 9 }, { columns: 9, rows: 0 }]) {
    const sink = new MemorySink();
    const controller = new AbortController();
    const asked: number[] = [];
    await watch(sink, {
      look: () => {
        controller.abort();
        return Promise.resolve({ boxes, runtime: RUNTIME });
      },
      format: (stats, columns) => {
        asked.push(columns);
        return formatStats(stats);
      },
      signal: controller.signal,
      size: () => size,
      refreshMs: 1,
    });
    const lines = (sink.text.split("\x1b[H")[1] ?? "").split("\x1b[K\n").slice(0, -1);
    assert.deepEqual(asked, [80]);
    assert.equal(lines.length, 23);
    for (const line of lines) assert.equal(line.length, 79, line);
  }
});

Deno.test("hutch stats prints one look without a terminal, as a table or as JSON", async () => {
  await using folder = new TempFolder();
  const home = join(folder.path, "home");
  const id = (await hutchIn(home, "create", "--name", "web", "builtin:busybox")).stdout.trim();
  const running = await hutchIn(home, "stats");
  assert.equal(running.code, 0, running.stderr);
  assert.match(running.stdout, /^ID {3}NAME {3}STATUS/);
  assert.match(running.stdout, /^boxes: 1 configured; so far 1 created, /m);
  assert.match(
    (await hutchIn(home, "stats", "-a")).stdout,
    new RegExp(`^${id} +web +configured`, "m"),
  );
  const json = JSON.parse((await hutchIn(home, "stats", "--json", "web")).stdout);
  assert.deepEqual(json.boxes.map((box: BoxMetrics) => [box.id, box.cpu]), [[id, null]]);
  assert.equal(json.runtime.boxes.created, 1);
  assert.equal(json.runtime.images.pulled, 1);
  const missed = await hutchIn(home, "stats", "wbe");
  assert.equal(missed.code, 125);
  assert.match(missed.stderr, /did you mean "web"\?/);
});
