import assert from "node:assert/strict";
import type { BoxMetrics, NetworkCounters, RuntimeMetrics } from "../../mod.ts";
import { formatTop } from "../../src/cli/top.ts";
import { main } from "../../src/cli/main.ts";
import { TempFolder } from "../support/temp.ts";
import { OnTerminal, ptyTools } from "../support/pty.ts";
import { memoryIo } from "./helpers.ts";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url).pathname;

const MIB = 1024 * 1024;
const EXECS = { started: 7, running: 1, nonzero: 2, failed: 3 };
const RUNTIME: RuntimeMetrics = {
  at: "2026-01-01T00:00:00.000Z",
  boxes: { byStatus: {}, created: 0, started: 0, stopped: 0, failed: 0, crashed: 0, removed: 0 },
  execs: EXECS,
  boot: null,
  stages: {},
  images: { pulled: 0, removed: 0 },
  pluginFailures: 0,
  eventsDropped: 0,
};
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

function box(name: string, percent: number | undefined): BoxMetrics {
  return {
    id: "0123456789ab",
    name,
    status: percent === undefined ? "stopped" : "running",
    at: "2026-01-01T00:00:00.000Z",
    cpu: percent === undefined ? null : { timeMs: 1, percent },
    memory: percent === undefined ? null : {
      limitBytes: 512 * MIB,
      residentBytes: 300 * MIB,
      privateBytes: 290 * MIB,
      guestBytes: 200 * MIB,
    },
    disk: null,
    guest: null,
    network: percent === undefined ? null : NETWORK,
    unavailable: {},
    execs: EXECS,
    starts: { succeeded: 1, failed: 0, lastMs: 1, stages: {} },
  };
}

const STATS = {
  boxes: [box("quiet", 0.5), box("old", undefined), box("busy", 99)],
  runtime: RUNTIME,
};

Deno.test("formatTop shows the busiest box first, and what it uses", () => {
  const lines = formatTop(STATS, Infinity).trimEnd().split("\n").map((line) => line.split(/ {2,}/));
  assert.deepEqual(lines.map(([name]) => name), ["NAME", "busy", "quiet", "old"]);
  assert.deepEqual(lines[1], [
    ...["busy", "99.0%", "300 MiB", "running", "3 MiB", "1 MiB", "512 MiB", "1", "0123456789ab"],
  ]);
  assert.deepEqual(lines[3]?.slice(0, 7), ["old", "-", "-", "stopped", "-", "-", "-"]);
});

Deno.test("formatTop leaves out columns that a narrow terminal has no room for", () => {
  const whole = formatTop(STATS, Infinity).split("\n")[0] ?? "";
  assert.match(whole, /^NAME +CPU +MEMORY +STATE +RECEIVED +SENT +LIMIT +RUNNING +ID$/);
  for (const columns of [100, 80, 60, 40]) {
    const lines = formatTop(STATS, columns).split("\n");
    assert.ok(lines.every((line) => line.length < columns), `${columns}`);
    assert.ok(whole.startsWith(lines[0]?.slice(0, 4) ?? "?"));
  }
  assert.match(formatTop(STATS, 5), /^NAME +CPU +MEMORY\n/);
});

Deno.test("hutch top prints once where there is no terminal", async () => {
  await using folder = new TempFolder();
  const io = memoryIo();
  assert.equal(await main(["--home", folder.path, "top", "-a"], io), 0);
  assert.match(io.stdout.text, /^NAME +CPU .*\n$/);
});

Deno.test({
  name:
    `hutch top is live on a terminal until q or Ctrl-C, and leaves it as it was${ptyTools.note}`,
  ignore: ptyTools.ignore,
  async fn() {
    for (const key of ["q", "Ctrl-C"]) {
      await using folder = new TempFolder();
      const command = [Deno.execPath(), "run", "-A", "--no-check", MAIN, "--home", folder.path];
      await using terminal = OnTerminal.start([...command, "--no-config", "top"], {
        rows: 10,
        columns: 30,
      });
      await terminal.until(/NAME +CPU +MEMORY/);
      await terminal.until(/NAME/); // again, a second later
      assert.doesNotMatch(terminal.raw, /RUNNING/); // no room for it
      // Typed, it would end the test's own shell as well.
      if (key === "q") await terminal.press(key);
      else Deno.kill(terminal.pid, "SIGINT");
      assert.equal(await terminal.end(), 0, key);
      assert.equal(terminal.after, terminal.before);
    }
  },
});
