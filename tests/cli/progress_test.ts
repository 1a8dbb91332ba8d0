import assert from "node:assert/strict";
import type { PullEvent } from "../../src/images/pull.ts";
import { PullProgress, short } from "../../src/cli/progress.ts";
import { MemorySink } from "./helpers.ts";

const A = `sha256:${"a".repeat(64)}`;
const B = `sha256:${"b".repeat(64)}`;
const REFERENCE = "registry:docker.io/library/debian:12";
const EVENTS: PullEvent[] = [
  { type: "resolving", reference: REFERENCE },
  { type: "resolved", reference: REFERENCE, digest: A, layers: 2, bytes: 4 << 20 },
  { type: "layer", digest: A, done: 1 << 20, total: 2 << 20 },
  { type: "layer.done", digest: B, cached: true },
  { type: "layer", digest: A, done: 2 << 20, total: 2 << 20 },
  { type: "layer.done", digest: A, cached: false },
  { type: "done", reference: REFERENCE, digest: A },
  { type: "disk", digest: A, done: 0, total: 100 },
  { type: "disk", digest: A, done: 50, total: 100 },
  { type: "disk.done", digest: A, path: "/x" },
];

Deno.test("PullProgress prints plain lines where there is no terminal", async () => {
  const sink = new MemorySink();
  const progress = new PullProgress(sink, { columns: undefined });
  for (const event of EVENTS) progress.on(event);
  await progress.close();
  assert.deepEqual(sink.text.split("\n"), [
    "debian:12: sha256:aaaaaaaaaaaa, 2 layers, 4 MiB",
    "sha256:bbbbbbbbbbbb: already here",
    "sha256:aaaaaaaaaaaa: fetched",
    "debian:12: making the base disk",
    "",
  ]);
});

Deno.test("PullProgress writes one line over on a terminal, and takes it away", async () => {
  const sink = new MemorySink();
  let now = 0;
  const progress = new PullProgress(sink, { columns: 40, now: () => now += 200 });
  for (const event of EVENTS) progress.on(event);
  await progress.close();
  const lines = sink.text.split("\r\x1b[K").slice(1);
  assert(lines.includes("debian:12: 1 MiB of 4 MiB"), JSON.stringify(lines));
  assert(lines.includes("debian:12: making the base disk, 50%"), JSON.stringify(lines));
  assert(lines.every((line) => line.length < 40));
  assert.equal(lines.at(-1), "");
  assert(!sink.text.includes("\n"));
});

Deno.test("PullProgress updates a terminal's line only so often", async () => {
  const sink = new MemorySink();
  const progress = new PullProgress(sink, { columns: 80, now: () => 0 });
  for (let done = 0; done < 1000; done++) {
    progress.on({ type: "layer", digest: A, done, total: 1000 });
  }
  await progress.close();
  assert.equal(sink.chunks.length, 2);
});

Deno.test("PullProgress doesn't obey what a registry names, nor fail where it can't print", async () => {
  const sink = new MemorySink();
  const progress = new PullProgress(sink, { columns: undefined });
  progress.on({ type: "resolved", reference: "x\x1b[2J", digest: "\x07", layers: 1, bytes: 0 });
  await progress.close();
  assert.equal(sink.text, "x\\x1b[2J: \\x07, 1 layer, 0 B\n");
  const broken = new PullProgress({
    isTerminal: () => true,
    write: () => Promise.reject(new Error("x")),
  }, { columns: 80 });
  for (const event of EVENTS) broken.on(event);
  await broken.close();
});

Deno.test("short keeps what isn't a digest", () => {
  assert.equal(short(A), "sha256:aaaaaaaaaaaa");
  assert.equal(short("odd"), "odd");
});
