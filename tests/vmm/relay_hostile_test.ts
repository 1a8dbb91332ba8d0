import assert from "node:assert/strict";
import { makeCredit, makeFrame } from "../../src/guest/codec.ts";
import { ALONE, Channel, END, FrameType, HEADER_SIZE, WINDOW } from "../../src/guest/protocol.ts";
import { encodeMessage } from "../../src/guest/encode.ts";
import { encodeCbor } from "../../src/deps.ts";
import { fc } from "../deps.ts";
import { type AgentDouble, type DoubleStream, lying } from "../doubles/agent.ts";
import { BoxDouble, exec } from "../doubles/box.ts";

const T = FrameType;
const some = new Uint8Array(100);

/** What a guest sends on stream 1, which a client opened, and what the relay says of it. */
const streamLies: readonly [string, (stream: DoubleStream) => void, RegExp][] = [
  ["a frame of 4 GiB", (s) => s.agent.raw(Uint8Array.fromHex("ffffffff000000010501")), /DATA of/],
  ["a large reply", (s) => s.frame(T.REPLY, new Uint8Array(64 * 1024 + 1)), /REPLY of 65537/],
  ["an unknown type", (s) => s.frame(42, some), /type 42 is unknown/],
  ["a host's frame", (s) => s.frame(T.CONTROL, some), /isn't a frame that the agent sends/],
  ["a stream that isn't open", (s) => other(s, T.DATA, some), /stream 999, which isn't open/],
  ["a close of one that isn't", (s) => other(s, T.CLOSE), /stream 999, which isn't open/],
  ["a number beyond all", (s) => s.agent.raw(makeFrame(T.CLOSE, 0xffffffff)), /isn't open/],
  ["a second close", (s) => [s.close(), s.frame(T.CLOSE)], /isn't open/],
  ["data after its close", (s) => [s.close(), s.frame(T.DATA, some, 1)], /isn't open/],
  ["data before its reply", (s) => s.frame(T.DATA, some, Channel.STDOUT), /after no answer/],
  ["two replies", (s) => [s.reply(), s.reply()], /REPLY came after REPLY/],
  ["two exits", (s) => [s.reply(), s.exit(), s.exit()], /EXIT came after EXIT/],
  ["channel 3", (s) => [s.reply(), s.frame(T.DATA, some, 3)], /flags 3/],
  ["an endless output", (s) => flood(s, 64 * 1024), /bytes under way, over 1048576/],
  ["an endless output of bytes", (s) => flood(s, 1), /bytes under way, over 1048576/],
  ["empty data", (s) => [s.reply(), s.frame(T.DATA, new Uint8Array(0), 1)], /empty/],
  ["data after the end", (s) => [s.reply(), s.end(1), s.frame(T.DATA, some, 1)], /after the end/],
  ["credit for nothing", (s) => [s.reply(), s.agent.raw(makeCredit(1, 0, 1))], /CREDIT of 1/],
  ["a second hello", (s) => s.agent.hello(), /HELLO came twice/],
  ["a goodbye that is the relay's", (s) => lonely(s), /GOODBYE has flags 1/],
];

function other(stream: DoubleStream, type: number, payload = new Uint8Array(0)): void {
  stream.agent.raw(makeFrame(type, 999, payload, type === T.DATA ? 1 : 0));
}

function lonely({ agent }: DoubleStream): void {
  agent.raw(makeFrame(T.GOODBYE, 0, encodeCbor({ reason: "shutdown", message: "" }), ALONE));
}

function flood(stream: DoubleStream, size: number): void {
  stream.reply();
  const frame = makeFrame(T.DATA, stream.number, new Uint8Array(size), Channel.STDOUT);
  const many = new Uint8Array(frame.length * Math.ceil(64 * 1024 / size));
  for (let at = 0; at < many.length; at += frame.length) many.set(frame, at);
  for (let sent = 0; sent < 2 * WINDOW; sent += 64 * 1024) stream.agent.raw(many);
}

for (const [name, lie, message] of streamLies) {
  Deno.test(`Relay ends with agent_protocol for ${name}`, async () => {
    await using box = await BoxDouble.start({ open: lying(lie) });
    await using client = await box.connect();
    const stream = client.open(exec("x"));
    const end = await box.relay.ended;
    assert.deepEqual([end.why, message.test(end.message)], ["agent_protocol", true], end.message);
    await client.closed;
    await stream.closed;
    await box.agent.done;
  });
}

const firstLies: readonly [string, (agent: AgentDouble) => void, RegExp][] = [
  ["a stream before the hello", (a) => a.raw(makeFrame(T.CLOSE, 1)), /before HELLO/],
  ["a goodbye before the hello", (a) => a.goodbye(), /before HELLO/],
  ["bytes that mean nothing", (a) => a.raw(new Uint8Array(5000).fill(0x61)), /unknown/],
  ["a shell's prompt", (a) => a.raw(new TextEncoder().encode("/ # login: root\n")), /unknown/],
];
for (const [name, lie, message] of firstLies) {
  Deno.test(`Relay ends with agent_protocol for ${name}`, async () => {
    await using box = await BoxDouble.make();
    const agent = await box.boot({ hello: null });
    lie(agent);
    void agent.fallSilent();
    const end = await box.relay.ended;
    assert.deepEqual([end.why, message.test(end.message)], ["agent_protocol", true], end.message);
  });
}

Deno.test("Relay ends with agent_lost when the agent's connection ends within a frame", async () => {
  for (const cut of [1, HEADER_SIZE, HEADER_SIZE + 1, 50]) {
    await using box = await BoxDouble.make();
    const agent = await box.boot({ hello: null });
    agent.raw(makeFrame(T.HELLO, 0, some).subarray(0, cut));
    await agent[Symbol.asyncDispose]();
    assert.equal((await box.relay.ended).why, "agent_lost");
  }
});

Deno.test("Relay holds a guest that floods a stopped client to its window", async () => {
  await using box = await BoxDouble.start({ open: lying((stream) => flood(stream, 1)) });
  using conn = await Deno.connect({ transport: "unix", path: box.path });
  await conn.read(new Uint8Array(1000));
  await conn.write(makeFrame(T.OPEN, 1, encodeMessage(exec("x"), "run")));
  const end = await box.relay.ended;
  assert.equal(end.why, "agent_protocol");
  // One byte and one header for each byte of the window, and the reply.
  assert.ok(
    box.relay.state.queuedBytes <= (HEADER_SIZE + 1) * WINDOW + 100,
    `${box.relay.state.queuedBytes}`,
  );
});

Deno.test("Relay drops what a guest sends on a stream that the client gave up", async () => {
  const closed = Promise.withResolvers<DoubleStream>();
  await using box = await BoxDouble.start({
    open: (stream) => {
      stream.reply({ pid: 1 });
      stream.take = (type) => type === T.CLOSE && closed.resolve(stream);
    },
  });
  await using client = await box.connect();
  const given = client.open(exec("x"));
  await given.reply;
  const closing = given.close();
  const stream = await closed.promise;
  stream.frame(T.DATA, new Uint8Array(1000), Channel.STDOUT);
  stream.exit();
  stream.frame(T.DATA, new Uint8Array(10), Channel.STDERR | END);
  stream.close();
  await closing;
  assert.deepEqual([box.relay.state.streams, client.streams, client.lost], [0, 0, undefined]);
});

Deno.test("Relay never throws, hangs or lets go of the rules on random frames", async () => {
  const frame = fc.oneof(
    fc.record({
      type: fc.integer({ min: 0, max: 11 }),
      stream: fc.integer({ min: 0, max: 4 }),
      flags: fc.constantFrom(0, 0, 0, 1, 2, 3, END | 1, 0x40),
      length: fc.constantFrom(0, 0, 1, 4, 4, 50, 70_000),
    }).map(({ type, stream, flags, length }) =>
      makeFrame(type, stream, new Uint8Array(length), flags)
    ),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => new Uint8Array(bytes)),
    fc.constantFrom(
      makeFrame(T.REPLY, 1, some),
      makeFrame(T.DATA, 1, new Uint8Array(200_000), Channel.STDOUT),
      makeFrame(T.EXIT, 1, some),
      makeFrame(T.CLOSE, 1),
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { maxLength: 20 }), async (frames) => {
      await using box = await BoxDouble.start({ open: () => {} });
      await using client = await box.connect();
      const streams = [1, 2].map(() => client.open(exec("x")));
      while (box.agent.streams.size < 2) await new Promise((resolve) => setTimeout(resolve, 0));
      for (const bytes of frames) box.agent.raw(bytes);
      await box.agent.flushed();
      await box.agent[Symbol.asyncDispose]();
      const { why } = await box.relay.ended;
      assert.ok(["agent_closed", "agent_lost", "agent_protocol"].includes(why), why);
      await client.closed;
      await Promise.all(streams.map((stream) => stream.closed));
    }),
    { numRuns: 60, seed: 20240607 },
  );
});
