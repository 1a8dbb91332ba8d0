import assert from "node:assert/strict";
import { Replay } from "../../src/vmm/replay.ts";
import { fc } from "../deps.ts";

function whole(replay: Replay): number[] {
  const all: number[] = [];
  for (let at = replay.start; at < replay.end;) {
    const part = replay.read(at, 7);
    all.push(...part);
    at += part.length;
  }
  return all;
}

Deno.test("Replay keeps the newest bytes, whatever is added, trimmed and given back", () => {
  const step = fc.record({
    size: fc.integer({ min: 0, max: 9_000 }),
    keep: fc.constantFrom(0, 1, 100, 4_096, 5_000, 20_000),
    shrink: fc.boolean(),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
    const replay = new Replay();
    const all: number[] = [];
    let start = 0;
    for (const { size, keep, shrink } of steps) {
      const bytes = Uint8Array.from({ length: size }, (_, n) => (all.length + n) % 251);
      for (const byte of bytes) all.push(byte);
      replay.append(bytes, keep);
      start = Math.max(start, all.length - keep);
      if (shrink) replay.shrink();
      assert.deepEqual([replay.start, replay.end], [start, all.length]);
      assert.ok(replay.size <= 40_000);
    }
    assert.deepEqual(whole(replay), all.slice(start));
  }));
});
