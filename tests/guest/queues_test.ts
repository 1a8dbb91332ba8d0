import assert from "node:assert/strict";
import { ByteQueue } from "../../src/guest/byte_queue.ts";
import { SendQueue } from "../../src/guest/send_queue.ts";
import { fc } from "../deps.ts";

/** A sink that takes a few bytes at a time, and only when told to. */
class SlowSink {
  readonly written: number[] = [];
  writes = 0;
  readonly #step: number;
  #go: (() => void)[] = [];
  #open = false;
  broken: Error | undefined;

  constructor(step: number) {
    this.#step = step;
  }

  async write(bytes: Uint8Array): Promise<number> {
    if (!this.#open) await new Promise<void>((resolve) => this.#go.push(resolve));
    if (this.broken) throw this.broken;
    this.writes++;
    const part = bytes.subarray(0, this.#step);
    this.written.push(...part);
    return part.length;
  }

  open(): void {
    this.#open = true;
    for (const go of this.#go) go();
    this.#go = [];
  }
}

function unexpected(error: unknown): void {
  assert.fail(String(error));
}

Deno.test("SendQueue writes everything in order, copied or not", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.boolean(), fc.uint8Array({ maxLength: 3000 })), { maxLength: 30 }),
      fc.integer({ min: 1, max: 5000 }),
      async (parts, step) => {
        const sink = new SlowSink(step);
        const queue = new SendQueue(sink, unexpected);
        let done = 0;
        let pushed = 0;
        for (const [copy, bytes] of parts) {
          const own = new Uint8Array(bytes);
          if (copy) {
            queue.copy(own);
            own.fill(0);
          } else {
            pushed++;
            queue.push(own, () => done++);
          }
        }
        const expected = parts.flatMap(([, bytes]) => [...bytes]);
        assert.equal(queue.queuedBytes, expected.length);
        sink.open();
        await queue.drained();
        assert.deepEqual(sink.written, expected);
        assert.equal(queue.queuedBytes, 0);
        assert.equal(done, pushed);
      },
    ),
    { numRuns: 60 },
  ));

Deno.test("SendQueue gathers small copies into few writes", async () => {
  const sink = new SlowSink(1 << 20);
  const queue = new SendQueue(sink, unexpected);
  for (let at = 0; at < 10_000; at++) queue.copy(new Uint8Array([at, at >> 8]));
  assert.equal(queue.peakBytes, 20_000);
  sink.open();
  await queue.drained();
  assert.equal(sink.writes, 2);
  assert.equal(sink.written.length, 20_000);
});

Deno.test("SendQueue.drained resolves when few enough bytes wait", async () => {
  const sink = new SlowSink(10);
  const queue = new SendQueue(sink, unexpected);
  for (let part = 0; part < 4; part++) queue.push(new Uint8Array(25), () => {});
  let left = -1;
  const waited = queue.drained(50).then(() => left = queue.queuedBytes);
  sink.open();
  await waited;
  assert.ok(left >= 0 && left <= 50, String(left));
  await queue.drained();
});

Deno.test("SendQueue reports a failed write once and lets go of everything", async () => {
  const sink = new SlowSink(10);
  const errors: unknown[] = [];
  const queue = new SendQueue(sink, (error) => errors.push(error));
  let released = 0;
  for (let part = 0; part < 5; part++) queue.push(new Uint8Array(25), () => released++);
  const sent = queue.send(new Uint8Array(9));
  sink.broken = new Error("broken pipe");
  sink.open();
  await sent;
  await queue.drained();
  queue.push(new Uint8Array(3), () => released++);
  queue.copy(new Uint8Array(3));
  assert.deepEqual(errors, [sink.broken]);
  assert.deepEqual([released, queue.queuedBytes], [6, 0]);
});

Deno.test("SendQueue doesn't spin on a sink that takes nothing", async () => {
  const errors: unknown[] = [];
  const queue = new SendQueue(
    { write: () => Promise.resolve(0) },
    (error) => errors.push(error),
  );
  await queue.send(new Uint8Array(1));
  assert.match(String(errors[0]), /takes no bytes/);
});

Deno.test("ByteQueue gives back what was added, whether kept or copied", () => {
  const sizes = fc.oneof(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 80_000 }));
  fc.assert(
    fc.property(fc.array(fc.option(sizes, { freq: 3 }), { maxLength: 40 }), (plan) => {
      const queue = new ByteQueue();
      let value = 0;
      let expected = 0;
      let length = 0;
      const check = (chunk: Uint8Array | undefined) => {
        for (const byte of chunk ?? []) if (byte !== (expected++ & 255)) assert.fail("wrong byte");
        length -= chunk?.length ?? 0;
      };
      for (const size of plan) {
        if (size === null) check(queue.shift());
        else if (size % 7 === 6) {
          const into = new Uint8Array(size);
          check(into.subarray(0, queue.take(into)));
        } else {
          const part = new Uint8Array(size).map(() => value++ & 255);
          let kept = false;
          queue.add(part, () => {
            kept = true;
            return () => part.fill(0);
          });
          if (!kept) part.fill(0);
          length += size;
        }
        assert.equal(queue.length, length);
      }
      for (let chunk = queue.shift(); chunk; chunk = queue.shift()) check(chunk);
      assert.equal(expected, value);
    }),
    { numRuns: 100 },
  );
});

Deno.test("ByteQueue gathers single bytes into few chunks", () => {
  const queue = new ByteQueue();
  const byte = new Uint8Array(1);
  for (let at = 0; at < 1 << 20; at++) queue.add(byte, assert.fail);
  assert.equal(queue.length, 1 << 20);
  assert.equal(queue.peak, 1 << 20);
  let chunks = 0;
  while (queue.shift()) chunks++;
  assert.ok(chunks <= 17, `${chunks} chunks`);
});
