import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { OutChannel } from "../../src/guest/channels.ts";
import {
  Channel,
  END,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD,
  WINDOW,
} from "../../src/guest/protocol.ts";
import { StreamRules } from "../../src/guest/stream_rules.ts";
import { fc } from "../deps.ts";
import { has } from "./with_client.ts";

/** An input whose frames are held up until the test lets them go. */
class Input {
  readonly rules = new StreamRules();
  readonly payloads: Uint8Array<ArrayBuffer>[] = [];
  readonly channel = new OutChannel(1, this.rules, (frame) => this.#take(frame));
  readonly writer = this.channel.writable.getWriter();
  ended = false;
  #held: (() => void)[] = [];

  constructor() {
    this.rules.receive(FrameType.REPLY, 0, 0, 0); // credit comes after it
  }

  get underWay(): boolean {
    return this.#held.length > 0;
  }

  /** Lets the frame that is on its way arrive. */
  async pass(): Promise<void> {
    this.#held.shift()?.();
    await settled();
  }

  /** The agent gives credit. */
  credit(count: number): void {
    assert.equal(this.rules.receive(FrameType.CREDIT, Channel.STDIN, 4, count), undefined);
    this.channel.credited();
  }

  #take(frame: Uint8Array<ArrayBuffer>): Promise<void> {
    assert.ok(frame.length <= HEADER_SIZE + MAX_PAYLOAD);
    const view = new DataView(frame.buffer);
    assert.equal(view.getUint32(0), frame.length - HEADER_SIZE);
    if ((view.getUint8(HEADER_SIZE - 1) & END) !== 0) this.ended = true;
    return new Promise((resolve) =>
      this.#held.push(() => {
        this.payloads.push(frame.slice(HEADER_SIZE)); // unchanged until now
        resolve();
      })
    );
  }
}

const settled = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
const lengths = ({ payloads }: Input) => payloads.map(({ length }) => length);

Deno.test("OutChannel joins what is written while a frame is on its way", async () => {
  const input = new Input();
  for (let at = 0; at < 11; at++) await input.writer.write(new Uint8Array(1000).fill(at));
  const closed = input.writer.close();
  for (let at = 0; at < 3; at++) await input.pass();
  await closed;
  assert.deepEqual(lengths(input), [1000, 10_000, 0]);
  assert.equal(input.payloads[1]?.[9999], 10);
  assert.equal(input.ended, true);
});

Deno.test("OutChannel takes a frame ahead of the one on its way, and no more", async () => {
  const input = new Input();
  await input.writer.write(new Uint8Array(10));
  let taken = false;
  const written = input.writer.write(new Uint8Array(MAX_PAYLOAD + 1)).then(() => taken = true);
  await settled();
  assert.equal(taken, false);
  await input.pass();
  await written;
  await input.pass();
  await input.pass();
  assert.deepEqual(lengths(input), [10, MAX_PAYLOAD, 1]);
});

Deno.test("OutChannel fails to close when bytes are left that nobody will read", async () => {
  const input = new Input();
  await input.writer.write(new Uint8Array(10));
  await input.writer.write(new Uint8Array(5));
  const closed = assert.rejects(input.writer.close(), has("broken_pipe"));
  input.writer.closed.catch(() => {});
  input.channel.stop(() => new HutchError("broken_pipe", "Cannot write: it has ended"));
  await input.pass();
  await closed;
  assert.deepEqual([lengths(input), input.ended], [[10], false]);
});

Deno.test("OutChannel that is aborted sends what there is room for, then the end", async () => {
  const input = new Input();
  input.rules.sent(WINDOW - 12);
  await input.writer.write(new Uint8Array(10));
  await input.writer.write(new Uint8Array(5));
  input.writer.closed.catch(() => {});
  const aborted = input.writer.abort(new Error("no more"));
  for (let at = 0; at < 3; at++) await input.pass();
  await aborted;
  assert.deepEqual([lengths(input), input.ended], [[10, 2, 0], true]);
});

Deno.test("OutChannel loses and changes nothing, however it is written and read", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 0, max: 2 * MAX_PAYLOAD }), { minLength: 5, maxLength: 12 }),
      fc.infiniteStream(fc.integer({ min: 20_000, max: MAX_PAYLOAD })),
      async (sizes, credits) => {
        const input = new Input();
        let value = 0;
        const chunks = sizes.map((size) => new Uint8Array(size).map(() => value++ * 7));
        const all = (async () => {
          for (const chunk of chunks) await input.writer.write(chunk);
          await input.writer.close();
        })();
        for (const credit of credits) {
          if (input.ended) break;
          await input.pass();
          const owed = WINDOW - input.rules.stdinCredit;
          if (owed > 0) input.credit(Math.min(credit, owed));
        }
        await input.pass();
        await all;
        const whole = async (parts: readonly Uint8Array<ArrayBuffer>[]) =>
          new Uint8Array(await new Blob([...parts]).arrayBuffer());
        assert.deepEqual(await whole(input.payloads), await whole(chunks));
      },
    ),
    { numRuns: 25 },
  ));
