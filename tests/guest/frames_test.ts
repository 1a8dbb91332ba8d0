import assert from "node:assert/strict";
import { BlockReader, FrameScanner } from "../../src/guest/blocks.ts";
import { makeFrame } from "../../src/guest/codec.ts";
import { FrameReader } from "../../src/guest/frame_reader.ts";
import { Channel, END, FrameType, HEADER_SIZE, MAX_PAYLOAD } from "../../src/guest/protocol.ts";
import { fc } from "../deps.ts";

/** A source that gives `bytes` in pieces of the given sizes, repeated. */
class Pieces {
  #at = 0;
  #turn = 0;
  constructor(readonly bytes: Uint8Array, readonly sizes: readonly number[]) {}
  read(into: Uint8Array): Promise<number | null> {
    assert.ok(into.length > 0, "no room to read into");
    if (this.#at === this.bytes.length) return Promise.resolve(null);
    const size = this.sizes[this.#turn++ % this.sizes.length] ?? 1;
    const count = Math.min(size, into.length, this.bytes.length - this.#at);
    into.set(this.bytes.subarray(this.#at, this.#at + count));
    this.#at += count;
    return Promise.resolve(count);
  }
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

interface Seen {
  readonly type: number;
  readonly stream: number;
  readonly flags: number;
  readonly payload: Uint8Array;
}

/** What a relay or client would see through a scanner. */
async function scan(source: Pieces, hold: boolean): Promise<[Seen[], string | undefined, boolean]> {
  const reader = new BlockReader(source, { blockSize: 160 * 1024, leastRoom: 1024 });
  const scanner = new FrameScanner(reader, "agent");
  const seen: Seen[] = [];
  let parts: Uint8Array[] = [];
  while (scanner.problem === undefined && await reader.more()) {
    while (scanner.next()) {
      const part = reader.block.bytes.subarray(scanner.payloadFrom, scanner.to);
      if (hold) reader.hold();
      parts.push(hold ? part : part.slice());
      if (scanner.begins) assert.equal(scanner.payloadFrom - scanner.from, HEADER_SIZE);
      if (!scanner.ends) continue;
      const { type, stream, flags } = scanner.header;
      seen.push({ type, stream, flags, payload: concat(parts) });
      parts = [];
    }
  }
  return [seen, scanner.problem, scanner.between];
}

/** What a relay would see of a client. */
async function readWhole(source: Pieces): Promise<[Seen[], string | undefined, number]> {
  const reader = new FrameReader(source, "agent");
  const seen: Seen[] = [];
  let capacity = 0;
  while (reader.problem === undefined && await reader.fill()) {
    while (reader.next()) {
      const { type, stream, flags } = reader.header;
      seen.push({ type, stream, flags, payload: reader.payload.slice() });
    }
    capacity = Math.max(capacity, reader.capacity);
  }
  return [seen, reader.problem, capacity];
}

const agentFrame = fc.oneof(
  fc.record({
    type: fc.constant(FrameType.DATA),
    stream: fc.integer({ min: 1, max: 9 }),
    flags: fc.constantFrom(Channel.STDOUT, Channel.STDERR, Channel.STDOUT | END),
    length: fc.oneof(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 100_000 }),
      fc.constant(MAX_PAYLOAD),
    ),
  }),
  fc.record({
    type: fc.constantFrom(FrameType.REPLY, FrameType.EXIT, FrameType.ERROR),
    stream: fc.integer({ min: 1, max: 9 }),
    flags: fc.constant(0),
    length: fc.oneof(fc.integer({ min: 1, max: 99 }), fc.constant(64 * 1024)),
  }),
);

const pieceSizes = fc.array(
  fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 300_000 })),
  { minLength: 1, maxLength: 5 },
).filter((sizes) => sizes.some((size) => size > 500));

function build(frames: readonly { type: number; stream: number; flags: number; length: number }[]) {
  return frames.map(({ type, stream, flags, length }, index) => ({
    type,
    stream,
    flags,
    payload: new Uint8Array(length).map((_, at) => (at * 7 + index) & 255),
  }));
}

function wire(frames: readonly Seen[]): Uint8Array<ArrayBuffer> {
  return concat(frames.map((each) => makeFrame(each.type, each.stream, each.payload, each.flags)));
}

for (const hold of [false, true]) {
  Deno.test(`FrameScanner finds the frames however they arrive, parts ${hold ? "kept" : "copied"}`, () =>
    fc.assert(
      fc.asyncProperty(fc.array(agentFrame, { maxLength: 12 }), pieceSizes, async (plan, sizes) => {
        const frames = build(plan);
        const [seen, problem, between] = await scan(new Pieces(wire(frames), sizes), hold);
        assert.equal(problem, undefined);
        assert.ok(between);
        assert.deepEqual(seen, frames);
      }),
      { numRuns: 40 },
    ));
}

Deno.test("FrameReader finds the frames however they arrive, in bounded memory", () =>
  fc.assert(
    fc.asyncProperty(fc.array(agentFrame, { maxLength: 12 }), pieceSizes, async (plan, sizes) => {
      const frames = build(plan);
      const [seen, problem, capacity] = await readWhole(new Pieces(wire(frames), sizes));
      assert.equal(problem, undefined);
      assert.deepEqual(seen, frames);
      assert.ok(capacity <= 2 * (MAX_PAYLOAD + HEADER_SIZE));
    }),
    { numRuns: 60 },
  ));

Deno.test("FrameScanner and FrameReader agree on random bytes and never throw", () =>
  fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), pieceSizes, async (bytes, sizes) => {
      const [seen, problem] = await scan(new Pieces(bytes, sizes), false);
      const [whole, same] = await readWhole(new Pieces(bytes, sizes));
      assert.equal(problem, same);
      assert.deepEqual(seen, whole);
    }),
    { numRuns: 500 },
  ));

Deno.test("FrameScanner and FrameReader stop at the first bad frame after good ones", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(agentFrame, { maxLength: 5 }),
      fc.uint8Array({ minLength: 10, maxLength: 30 }).filter((bytes) => (bytes[8] ?? 0) > 10),
      pieceSizes,
      async (plan, bad, sizes) => {
        const frames = build(plan);
        const bytes = concat([wire(frames), bad]);
        const [seen, problem] = await scan(new Pieces(bytes, sizes), false);
        assert.match(problem ?? "", /is unknown/);
        assert.deepEqual(seen, frames);
        assert.deepEqual(await readWhole(new Pieces(bytes, sizes)).then(([all]) => all), frames);
      },
    ),
    { numRuns: 40 },
  ));

Deno.test("FrameScanner knows when the source ends within a frame", async () => {
  const frame = makeFrame(FrameType.DATA, 1, new Uint8Array(100), Channel.STDOUT);
  for (const cut of [1, 9, 10, 11, 109]) {
    const [seen, problem, between] = await scan(new Pieces(frame.subarray(0, cut), [1000]), false);
    assert.deepEqual([seen.length, problem, between], [0, undefined, false], `cut at ${cut}`);
  }
});

Deno.test("BlockReader uses released blocks again and leaves held ones alone", async () => {
  const source = new Pieces(new Uint8Array(10_000).map((_, at) => at & 255), [100]);
  const reader = new BlockReader(source, { blockSize: 100 });
  const buffers = new Set<ArrayBuffer>();
  const held: [ReturnType<BlockReader["hold"]>, Uint8Array, number][] = [];
  for (let read = 0; await reader.more(); read++) {
    buffers.add(reader.block.bytes.buffer);
    held.push([reader.hold(), reader.block.bytes.subarray(reader.start, reader.end), read * 100]);
    reader.start = reader.end;
    if (held.length < 3) continue;
    const [block, bytes, first] = held.shift() ?? assert.fail();
    assert.deepEqual([...bytes], Array.from({ length: 100 }, (_, at) => (first + at) & 255));
    reader.release(block);
  }
  assert.ok(buffers.size <= 4, `${buffers.size} blocks`);
});
