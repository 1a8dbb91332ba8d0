import assert from "node:assert/strict";
import "../../src/cli/progress_terminal.ts"; // loaded before the tests: they don't wait for it
import { PullProgress } from "../../src/cli/progress.ts";
import { frameOf } from "../../src/cli/progress_frame.ts";
import { progressMode } from "../../src/cli/progress_mode.ts";
import { PullState } from "../../src/cli/progress_state.ts";
import type { PullEvent } from "../../src/images/pull/pull.ts";
import { loadLogUpdate } from "../../src/deps.ts";
import { fc } from "../deps.ts";
import { Terminal } from "../support/terminal.ts";
import { MemorySink } from "./helpers.ts";

const MIB = 2 ** 20;
const REFERENCE = "registry:docker.io/library/debian:12";
const [A, B, C] = ["a", "b", "c"].map((digit) => `sha256:${digit.repeat(64)}`) as [
  string,
  string,
  string,
];
const RESOLVED: readonly PullEvent[] = [
  { type: "resolving", reference: REFERENCE },
  { type: "resolved", reference: REFERENCE, digest: C, layers: 2, bytes: 50 * MIB },
  { type: "layer", digest: A, done: 0, total: 40 * MIB },
  { type: "layer", digest: B, done: 0, total: 10 * MIB },
];
const DONE: PullEvent = { type: "done", reference: REFERENCE, digest: C };

function layer(digest: string, done: number): PullEvent {
  return { type: "layer", digest, done: done * MIB, total: (digest === A ? 40 : 10) * MIB };
}

/** A pull's state after events, each with the time, in `ms`, at which it came. */
function stateOf(...events: readonly (readonly [at: number, event: PullEvent])[]): PullState {
  const state = new PullState();
  for (const event of RESOLVED) state.take(event, 0);
  for (const [at, event] of events) state.take(event, at);
  return state;
}

/** Progress on a terminal in memory, drawn when the test says so. */
class Screen {
  readonly sink: MemorySink;
  readonly progress: PullProgress;
  now = 0;
  size = { columns: 80, rows: 24 };
  #draw: (() => void) | undefined;

  constructor(sink = new MemorySink()) {
    this.sink = sink;
    this.progress = new PullProgress(this.sink, "tty", {
      now: () => this.now,
      size: () => this.size,
      every: (_, draw) => {
        this.#draw = draw;
        return { [Symbol.dispose]: () => this.#draw = undefined };
      },
    });
  }

  get isDrawing(): boolean {
    return this.#draw !== undefined;
  }

  /** Draws what is current, if it isn't what shows. */
  async draw(): Promise<void> {
    // What draws is loaded first, and the terminal takes its time.
    await loadLogUpdate();
    for (let turns = 0; turns < 4; turns++) {
      this.#draw?.();
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  /** What the terminal shows of all that was written. */
  shown(before = ""): Terminal {
    const terminal = new Terminal(this.size);
    terminal.write(before + this.sink.text);
    return terminal;
  }
}

Deno.test("PullProgress prints plain lines where there is no terminal", async () => {
  const sink = new MemorySink();
  let now = 0;
  const progress = new PullProgress(sink, "plain", { now: () => now });
  for (const event of RESOLVED) progress.on(event);
  progress.on({ type: "layer.waiting", digest: B, done: 1, total: 10 * MIB });
  progress.on({ type: "layer.waiting", digest: B, done: 2, total: 10 * MIB });
  for (let at = 1; at <= 40; at++) {
    now = at * 500;
    progress.on(layer(A, at));
  }
  progress.on({ type: "layer.verify", digest: A, done: 40 * MIB, total: 40 * MIB });
  progress.on({ type: "layer.done", digest: A, total: 40 * MIB, cached: false });
  progress.on({ type: "layer.done", digest: B, total: 10 * MIB, cached: true });
  progress.on({ type: "disk.waiting", digest: C });
  progress.on({ type: "disk.waiting", digest: C });
  progress.on({ type: "disk", digest: C, done: 0, total: 50 * MIB });
  now = 35_000;
  progress.on({ type: "disk", digest: C, done: 25 * MIB, total: 50 * MIB });
  progress.on({ type: "disk.done", digest: C, path: "/x", cached: false });
  progress.on(DONE);
  await progress.close();
  assert.deepEqual(sink.text.split("\n"), [
    "debian:12: sha256:cccccccccccc, 2 layers, 50 MiB",
    "sha256:bbbbbbbbbbbb: waiting for another program that fetches it",
    "debian:12: 20 MiB of 50 MiB, 2 MiB/s, 15 s left",
    "debian:12: 40 MiB of 50 MiB, 2 MiB/s, 5 s left",
    "sha256:aaaaaaaaaaaa: fetched, 40 MiB",
    "debian:12: waiting for another program that makes the base disk",
    "debian:12: making the base disk",
    "debian:12: 25 MiB of 50 MiB in the base disk, 5 s left",
    "debian:12: fetched 40 MiB of 50 MiB, in 35 s",
    "",
  ]);
});

Deno.test("PullProgress tells each outcome where several images come after each other", async () => {
  for (const mode of ["plain", "tty"] as const) {
    const sink = new MemorySink();
    const every = () => ({ [Symbol.dispose]() {} });
    const progress = new PullProgress(sink, mode, { now: () => 0, every });
    for (const event of [...RESOLVED, layer(A, 30), DONE]) progress.on(event);
    const reference = "registry:docker.io/library/two:1";
    progress.on({ type: "resolving", reference });
    progress.on({ type: "done", reference, digest: C });
    await progress.close();
    assert.deepEqual(sink.text.split("\n").slice(-3), [
      "debian:12: fetched 30 MiB of 50 MiB, in 0 s",
      "two:1: nothing new, in 0 s",
      "",
    ]);
  }
});

Deno.test("PullProgress says whose work a pull was", async () => {
  const fetched = layer(A, 40);
  const here = (digest: string): PullEvent => ({
    type: "layer.done",
    digest,
    total: MIB,
    cached: true,
  });
  const waiting: PullEvent = { type: "layer.waiting", digest: B, done: 1, total: 10 * MIB };
  const disk: PullEvent = { type: "disk", digest: C, done: 0, total: 50 * MIB };
  const cases: readonly (readonly [string, readonly PullEvent[]])[] = [
    ["fetched 50 MiB", [fetched, layer(B, 10), disk]],
    ["fetched 40 MiB of 50 MiB", [fetched, waiting, here(B), disk]],
    ["another program fetched it", [here(A), waiting, here(B)]],
    ["made the base disk", [here(A), here(B), disk]],
    ["another program made the base disk", [here(A), here(B), {
      type: "disk.waiting",
      digest: C,
    }]],
    ["nothing new", [here(A), here(B)]],
  ];
  for (const [what, told] of cases) {
    const sink = new MemorySink();
    const progress = new PullProgress(sink, "plain", { now: () => 0 });
    for (const event of [...RESOLVED, ...told, DONE]) progress.on(event);
    await progress.close();
    assert.equal(sink.text.trimEnd().split("\n").at(-1), `debian:12: ${what}, in 0 s`);
  }
});

Deno.test("PullProgress shows nothing where it is to be quiet", async () => {
  const sink = new MemorySink();
  const progress = new PullProgress(sink, "none", { every: () => assert.fail("it draws") });
  for (const event of [...RESOLVED, DONE]) progress.on(event);
  await progress.close();
  assert.equal(sink.text, "");
});

Deno.test("PullProgress draws a bar per layer and a total on a terminal, and leaves a line", async () => {
  const screen = new Screen();
  for (const event of RESOLVED) screen.progress.on(event);
  screen.now = 1000;
  screen.progress.on(layer(A, 5));
  screen.now = 2000;
  screen.progress.on(layer(A, 20));
  screen.progress.on({ type: "layer.done", digest: B, total: 10 * MIB, cached: true });
  await screen.draw();
  const before = "$ hutch pull debian\n";
  assert.deepEqual(
    screen.shown(before).text.split("\n"),
    [
      "$ hutch pull debian",
      "debian:12: 2 layers, 50 MiB",
      "aaaaaaaaaaaa  [====>     ]    20.0 MiB of 40.0 MiB      15.0 MiB/s  2 s left",
      "bbbbbbbbbbbb  [==========]    10.0 MiB of 10.0 MiB    already here",
      "total         [=====>    ]    30.0 MiB of 50.0 MiB      10.0 MiB/s  2 s left",
    ],
  );
  screen.progress.on({ type: "disk", digest: C, done: 10 * MIB, total: 50 * MIB });
  await screen.draw();
  assert.match(screen.shown(before).text, /^\$.*\ndebian:12: 2 layers, 50 MiB\nbase disk .*$/);
  screen.progress.on(DONE);
  await screen.progress.close();
  await screen.progress.close();
  assert.equal(screen.isDrawing, false);
  const left = "$ hutch pull debian\ndebian:12: fetched 20 MiB of 50 MiB, in 2 s";
  assert.equal(screen.shown(before).text, left);
});

Deno.test("PullProgress takes its bars away when a pull fails, and brings nothing to a short one", async () => {
  const screen = new Screen();
  for (const event of RESOLVED) screen.progress.on(event);
  await screen.draw();
  assert.notEqual(screen.shown().text, "");
  await screen.progress.close();
  assert.equal(screen.shown("$ hutch pull debian\n").text, "$ hutch pull debian");
  const short = new Screen();
  for (const event of [...RESOLVED, DONE]) short.progress.on(event);
  await short.progress.close();
  assert.equal(short.sink.text, "debian:12: nothing new, in 0 s\n");
});

Deno.test("PullProgress takes away lines that a narrower terminal has broken", async () => {
  const outer = Deno.env.get("TMUX");
  Deno.env.set("TMUX", ""); // xterm and screen would cut lines, wherever the test runs
  using _restored = {
    [Symbol.dispose]: () =>
      outer === undefined ? Deno.env.delete("TMUX") : Deno.env.set("TMUX", outer),
  };
  const screen = new Screen();
  for (const event of RESOLVED) screen.progress.on(event);
  screen.progress.on({ type: "layer.done", digest: A, total: 40 * MIB, cached: true });
  const terminal = new Terminal(screen.size);
  terminal.write("one\ntwo\n");
  let shown = 0;
  const look = () => {
    terminal.write(screen.sink.text.slice(shown));
    shown = screen.sink.text.length;
    return terminal.text;
  };
  await screen.draw();
  assert.match(look(), /^one\ntwo\ndebian:12.*\na{12}.*already here\nb{12}.*\ntotal.*$/);
  screen.size = { columns: 44, rows: 24 };
  terminal.narrow(44);
  assert.match(look(), /here$/m);
  await screen.draw();
  assert.match(look(), /^one\ntwo\ndebian:12.*\na{12} {2}100%.*\nb{12} .*\ntotal.*$/);
  screen.size = { columns: 24, rows: 24 };
  terminal.narrow(24);
  await screen.progress.close();
  assert.equal(look(), "one\ntwo");
});

Deno.test("PullProgress draws no more while its terminal takes nothing, and goes on with what is current", async () => {
  const sink = new MemorySink();
  const gate = Promise.withResolvers<void>();
  let written = 0;
  const slow = {
    isTerminal: () => true,
    async write(bytes: Uint8Array) {
      written++;
      await gate.promise;
      return await sink.write(bytes);
    },
  };
  const draws: (() => void)[] = [];
  const progress = new PullProgress(slow, "tty", {
    size: () => ({ columns: 80, rows: 24 }),
    every: (_, draw) => {
      draws.push(draw);
      return { [Symbol.dispose]() {} };
    },
  });
  for (const event of RESOLVED) progress.on(event);
  while (written === 0) {
    draws[0]?.();
    await new Promise((resolve) => setTimeout(resolve));
  }
  for (let done = 0; done < 1000; done++) {
    progress.on(layer(A, done / 25));
    draws[0]?.();
  }
  assert.equal(written, 1);
  gate.resolve();
  await progress.close();
  assert.ok(written < 5, `${written} writes`);
});

Deno.test("PullProgress doesn't obey what a registry names, nor fail where it can't print", async () => {
  const sink = new MemorySink();
  const plain = new PullProgress(sink, "plain", { now: () => 0 });
  plain.on({ type: "resolved", reference: "x\x1b[2J", digest: "\x07", layers: 1, bytes: 0 });
  await plain.close();
  assert.equal(sink.text, "x\\x1b[2J: \\x07, 1 layer, 0 B\n");
  class Broken extends MemorySink {
    override write(bytes: Uint8Array): Promise<number> {
      this.chunks.push(bytes);
      return Promise.reject(new Error("x"));
    }
  }
  const screen = new Screen(new Broken());
  for (const event of RESOLVED) screen.progress.on(event);
  await screen.draw();
  await screen.progress.close();
});

Deno.test("frameOf says what happens to each layer", () => {
  const waiting: PullEvent = { type: "layer.waiting", digest: A, done: 4 * MIB, total: 40 * MIB };
  const checking: PullEvent = { type: "layer.verify", digest: B, done: 5 * MIB, total: 10 * MIB };
  const size = { columns: 80, rows: 24 };
  assert.deepEqual(
    frameOf(stateOf([1, waiting], [1, checking]), size, 9000),
    [
      "debian:12: 2 layers, 50 MiB",
      "aaaaaaaaaaaa  [>         ]     4.0 MiB of 40.0 MiB    waits for another program",
      "bbbbbbbbbbbb  [====>     ]     5.0 MiB of 10.0 MiB    checking",
      "total         [>         ]     9.0 MiB of 50.0 MiB",
    ],
  );
});

Deno.test("frameOf tells a speed that is that of the last seconds, of what is fetched alone", () => {
  const size = { columns: 120, rows: 24 };
  const total = (state: PullState, now: number) => frameOf(state, size, now).at(-1) ?? "";
  // A second of 10 MiB each, then a second each of 1 MiB.
  const events = Array.from({ length: 10 }, (_, at): [number, PullEvent] => [
    (at + 1) * 1000,
    layer(A, at < 2 ? (at + 1) * 10 : 18 + at + 1),
  ]);
  assert.match(total(stateOf(...events), 10_000), / 1\.0 MiB\/s {2}22 s left$/);
  // What an earlier pull left is no speed.
  const left: PullEvent = { type: "layer.verify", digest: A, done: 30 * MIB, total: 40 * MIB };
  const resumed = stateOf([1000, left], [2000, layer(A, 32)]);
  assert.match(total(resumed, 2000), / 32\.0 MiB of 50\.0 MiB +1\.0 MiB\/s {2}18 s left$/);
  // A layer's own begins with its first bytes, however long it waited for its turn.
  const late = stateOf([8000, layer(B, 1)], [9000, layer(B, 3)]);
  assert.match(
    frameOf(late, size, 9000).at(-2) ?? "",
    / 3\.0 MiB of 10\.0 MiB +2\.0 MiB\/s {2}4 s/,
  );
  // Nothing comes any more.
  assert.match(total(resumed, 20_000), / 0 B\/s$/);
  // It starts over.
  const again = stateOf([1000, layer(A, 30)], [2000, layer(A, 0)], [3000, layer(A, 3)]);
  assert.match(total(again, 3000), / 3\.0 MiB of 50\.0 MiB +11\.0 MiB\/s {2}5 s left$/);
});

Deno.test("frameOf shows what has room: first bars, then what happens, then the total alone", () => {
  const state = stateOf([1000, layer(A, 10)], [2000, layer(A, 20)]);
  const lines = (columns: number) => frameOf(state, { columns, rows: 24 }, 2000).slice(1, 3);
  assert.deepEqual(lines(66), [
    "aaaaaaaaaaaa  [====>     ]    20.0 MiB of 40.0 MiB    2 s left",
    "bbbbbbbbbbbb  [          ]         0 B of 10.0 MiB",
  ]);
  assert.deepEqual(lines(40), [
    "aaaaaaaaaaaa   50%    20.0 MiB",
    "bbbbbbbbbbbb    0%         0 B",
  ]);
  assert.deepEqual(lines(20), ["aaaaaaaaaaaa  50%", "bbbbbbbbbbbb   0%"]);
  assert.deepEqual(lines(5), ["50%", "0%"]);
  const many = new PullState();
  many.take({ type: "resolved", reference: "x:1", digest: C, layers: 127, bytes: 127 * MIB }, 0);
  for (let at = 0; at < 127; at++) {
    const digest = `sha256:${String(at).padStart(64, "0")}`;
    many.take({ type: "layer", digest, done: 0, total: MIB }, 0);
    if (at < 60) many.take({ type: "layer.done", digest, total: MIB, cached: at < 30 }, 0);
    if (at === 100) many.take({ type: "layer", digest, done: 10, total: MIB }, 0);
  }
  const shown = frameOf(many, { columns: 80, rows: 8 }, 0);
  assert.deepEqual(shown.map((line) => line.slice(0, 25).trim()), [
    "x:1: 127 layers, 127 MiB",
    ...Array.from({ length: 4 }, () => "000000000000  ["),
    "123 more layers, 60 of th",
    "total         [===>",
  ]);
  assert.match(shown[4] ?? "", / 10 B of /, "what something happens to isn't among those shown");
  assert.deepEqual(frameOf(many, { columns: 80, rows: 2 }, 0).map((line) => line.slice(0, 5)), [
    "total",
  ]);
  assert.deepEqual(frameOf(many, { columns: 80, rows: 1 }, 0), []);
});

const digests = fc.oneof(
  fc.integer({ min: 0, max: 140 }).map((at) => `sha256:${String(at).padStart(64, "0")}`),
  fc.string({ unit: "binary", maxLength: 30 }),
  fc.string({ unit: fc.constantFrom("\x1b", "\x07", "\n", "\u202e", "[", "a"), maxLength: 30 }),
);
const sizes = fc.oneof(fc.nat(), fc.integer(), fc.maxSafeNat(), fc.constant(0));
const digested = fc.record({ digest: digests, done: sizes, total: sizes, cached: fc.boolean() });
const named = fc.record({
  reference: fc.string({ unit: "binary", maxLength: 100 }),
  digest: digests,
  layers: fc.nat(),
  bytes: sizes,
});
const events: fc.Arbitrary<PullEvent> = fc.oneof(
  fc.tuple(fc.constantFrom("layer", "layer.waiting", "layer.verify", "layer.done"), digested)
    .map(([type, rest]) => ({ type, ...rest })),
  fc.tuple(fc.constantFrom("disk.waiting", "disk"), digested)
    .map(([type, rest]) => ({ type, ...rest })),
  digested.map((rest): PullEvent => ({ type: "disk.done", path: "/x", ...rest })),
  fc.tuple(fc.constantFrom("resolving", "resolved", "done"), named)
    .map(([type, rest]) => ({ type, ...rest })),
);

Deno.test("frameOf keeps any pull to the terminal's size, in printable characters", () => {
  const size = fc.record({ columns: fc.integer({ min: 1, max: 200 }), rows: fc.nat(60) });
  fc.assert(fc.property(fc.array(events, { maxLength: 300 }), size, (told, { columns, rows }) => {
    const state = new PullState();
    let now = 0;
    for (const event of told) state.take(event, now += 100);
    const lines = frameOf(state, { columns, rows }, now);
    assert.ok(lines.length <= Math.max(rows - 1, 0), `${lines.length} lines`);
    for (const line of lines) {
      assert.ok(line.length <= Math.max(columns - 1, 1), JSON.stringify(line));
      // deno-lint-ignore no-control-regex -- they are what mustn't be there
      assert.doesNotMatch(line, /[\x00-\x1f\x7f-\x9f]|NaN|undefined|Infinity/);
    }
  }));
});

Deno.test("PullProgress leaves what was on the terminal, whatever is drawn", async () => {
  const frame = fc.record({ told: fc.array(events, { maxLength: 30 }), draw: fc.boolean() });
  const property = fc.asyncProperty(
    fc.array(frame, { maxLength: 8 }),
    fc.record({
      columns: fc.integer({ min: 20, max: 100 }),
      rows: fc.integer({ min: 2, max: 12 }),
    }),
    async (frames, size) => {
      const screen = new Screen();
      screen.size = size;
      const outcomes: string[] = [];
      for (const { told, draw } of frames) {
        // Wide characters aren't what this terminal knows.
        for (const event of told.filter((event) => !("reference" in event))) {
          screen.now += 50;
          screen.progress.on(event);
        }
        if (draw && screen.isDrawing) await screen.draw();
      }
      screen.progress.on(DONE);
      await screen.progress.close();
      const terminal = screen.shown("before\nus\n");
      outcomes.push(...terminal.text.split("\n").slice(2));
      assert.deepEqual(terminal.text.split("\n").slice(0, 2), ["before", "us"]);
      assert.match(outcomes.join(""), /^debian:12: [a-z0-9 .]+, in [\d.]+ s$|^.{0,60}$/i);
      assert.ok(terminal.lines <= 2 + Math.max(size.rows, 5));
    },
  );
  await fc.assert(property, { numRuns: 30 });
});

Deno.test("progressMode draws on terminals that can be drawn on, unless it is told otherwise", () => {
  const terminal = { isTerminal: () => true, write: () => Promise.resolve(0) };
  const pipe = { ...terminal, isTerminal: () => false };
  const on = (sink: typeof pipe, env: Record<string, string>) => ({
    sink,
    env: (name: string) => ({ TERM: "xterm", ...env })[name],
  });
  assert.equal(progressMode({}, on(terminal, {})), "tty");
  assert.equal(progressMode({}, on(terminal, { NO_COLOR: "1" })), "tty", "it has no colours");
  assert.equal(progressMode({}, on(terminal, { TERM: "dumb" })), "plain");
  assert.equal(progressMode({}, on(terminal, { TERM: "" })), "plain");
  assert.equal(progressMode({}, on(terminal, { CI: "true" })), "plain");
  assert.equal(progressMode({}, on(terminal, { CI: "false" })), "tty");
  assert.equal(progressMode({ progress: "tty" }, on(terminal, { CI: "1" })), "tty");
  assert.equal(progressMode({ progress: "plain" }, on(terminal, {})), "plain");
  assert.equal(progressMode({ progress: "none" }, on(terminal, {})), "none");
  assert.equal(progressMode({ quiet: true, progress: "plain" }, on(terminal, {})), "none");
  assert.equal(progressMode({}, on(pipe, {})), "plain");
  assert.equal(progressMode({}, { ...on(pipe, {}), elsewhere: "none" }), "none");
  assert.throws(() => progressMode({ progress: "tty" }, on(pipe, {})), { code: "invalid_option" });
});
