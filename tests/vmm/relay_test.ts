import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import type { GuestClient } from "../../src/guest/client.ts";
import { makeCredit, makeFrame } from "../../src/guest/codec.ts";
import { Channel, FrameType, MAX_STREAMS, WINDOW } from "../../src/guest/protocol.ts";
import { encodeMessage } from "../../src/guest/encode.ts";
import { BoxDouble, exec, until } from "../doubles/box.ts";
import { RawClient } from "../doubles/raw_client.ts";

const text = (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => new Response(stream).text();

Deno.test("Relay sends the hello to clients from before and after it came", async () => {
  const hellos: Uint8Array[] = [];
  await using box = await BoxDouble.make({ onHello: (payload) => hellos.push(payload) });
  using early = await RawClient.connect(box);
  await until(() => box.relay.state.clients === 1);
  assert.equal(box.relay.hello, undefined);
  await box.boot({ hello: { kernel: "6.1" } });
  using late = await RawClient.connect(box);
  for (const client of [early, late]) {
    const frame = await client.next();
    assert.deepEqual([frame?.type, frame?.stream], [FrameType.HELLO, 0]);
    assert.deepEqual(frame?.payload, box.relay.hello);
  }
  assert.deepEqual(hellos, [box.relay.hello]);
});

Deno.test("Relay keeps the streams of several clients apart", async () => {
  await using box = await BoxDouble.start();
  const clients = await Promise.all([1, 2, 3, 4, 5].map(() => box.connect()));
  const outputs = await Promise.all(clients.flatMap((client, at) =>
    [0, 1, 2].map(async (turn) => {
      const stream = client.open(exec("echo", `client ${at} turn ${turn}`));
      return [await text(stream.stdout), (await stream.exit).code];
    })
  ));
  const expected = clients.flatMap((_, at) =>
    [0, 1, 2].map((turn) => [`client ${at} turn ${turn}\n`, 0])
  );
  assert.deepEqual(outputs, expected);
  // The end of a stream comes after its command's.
  await until(() => box.relay.state.streams === 0);
  for (const client of clients) await client.close();
});

Deno.test("Relay carries 200 streams at once, both ways", async () => {
  await using box = await BoxDouble.start();
  const clients = await Promise.all([1, 2, 3, 4].map(() => box.connect()));
  const one = async (client: GuestClient, index: number) => {
    const stream = client.open(exec("cat"));
    const size = 1000 + index * 997;
    const sent = new Uint8Array(size).fill(index);
    const writer = stream.stdin.getWriter();
    const writing = writer.write(sent).then(() => writer.close());
    const back = new Uint8Array(await new Response(stream.stdout).arrayBuffer());
    await writing;
    assert.deepEqual(back, sent);
    assert.deepEqual(await stream.exit, { code: 0, signal: null, timedOut: false });
  };
  await Promise.all(
    clients.flatMap((client, at) =>
      Array.from({ length: 50 }, (_, index) => one(client, at * 50 + index))
    ),
  );
  assert.deepEqual([box.relay.state.streams, box.agent.violations], [0, []]);
  for (const client of clients) await client.close();
});

Deno.test("Relay uses a number again only after the agent's CLOSE", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  const kept = client.open(exec("wait"));
  await kept.reply;
  for (let turn = 0; turn < 2 * MAX_STREAMS; turn += 64) {
    await Promise.all(Array.from({ length: 64 }, () => client.request({ op: "ping" })));
  }
  await until(() => box.relay.state.streams === 1);
  const { opened, violations } = box.agent;
  assert.equal(opened.length, 2 * MAX_STREAMS + 1);
  assert.ok(Math.max(...opened) <= MAX_STREAMS);
  assert.equal(opened.filter((number) => number === opened[0]).length, 1);
  assert.deepEqual(violations, []);
});

Deno.test("Relay refuses one stream too many, until another is closed", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  const streams = Array.from({ length: MAX_STREAMS }, () => client.open(exec("wait")));
  await Promise.all(streams.map((stream) => stream.reply));
  assert.equal(box.relay.state.streams, MAX_STREAMS);
  const over = client.open(exec("wait"));
  await assert.rejects(
    over.reply,
    (error) =>
      error instanceof HutchError && error.code === "limit_exceeded" &&
      error.message.includes("too many streams"),
  );
  await over.closed;
  await streams[500]?.close();
  await client.open(exec("wait")).reply;
  await Promise.all(streams.map((stream) => stream.close()));
  assert.deepEqual(box.agent.violations, []);
});

Deno.test("Relay.streams of a client that vanishes end, and no others", async () => {
  await using box = await BoxDouble.start();
  await using staying = await box.connect();
  const kept = staying.open(exec("wait"));
  await kept.reply;
  const leaving = await RawClient.greeted(box);
  for (const number of [1, 2, 3]) await leaving.open(number, "bytes", String(100 * WINDOW));
  await until(() => box.agent.streams.size === 4);
  leaving[Symbol.dispose]();
  await until(() => box.relay.state.streams === 1 && box.relay.state.clients === 1);
  assert.equal(box.agent.streams.size, 1);
  kept.control({ op: "signal", signal: 15 });
  assert.deepEqual(await kept.exit, { code: null, signal: "SIGTERM", timedOut: false });
});

Deno.test("Relay survives a client that vanishes within a frame", async () => {
  await using box = await BoxDouble.start();
  const open = makeFrame(FrameType.OPEN, 1, encodeMessage(exec("wait"), "run"));
  for (const cut of [1, 9, 10, 11, open.length - 1]) {
    using client = await RawClient.greeted(box);
    await client.send(open.subarray(0, cut));
  }
  await until(() => box.relay.state.clients === 0);
  assert.deepEqual(box.agent.opened, []);
  await using client = await box.connect();
  await client.request({ op: "ping" });
});

Deno.test("Relay lets a client that doesn't read hold up nobody", async () => {
  await using box = await BoxDouble.start();
  using stopped = await RawClient.greeted(box);
  for (const number of [1, 2, 3]) await stopped.open(number, "bytes", String(50 * WINDOW), "999");
  await using client = await box.connect();
  await until(() => box.relay.state.queuedBytes > 2 * WINDOW);
  const stream = client.open(exec("bytes", String(20 * WINDOW)));
  let seen = 0;
  for await (const chunk of stream.stdout) seen += chunk.length;
  assert.equal(seen, 20 * WINDOW);
  // Three windows of payload and the headers of 999-byte frames, no matter how much there is.
  assert.ok(
    box.relay.state.queuedBytes <= 3 * WINDOW * 1.02,
    `${box.relay.state.queuedBytes} bytes`,
  );
  assert.equal(box.relay.state.clients, 2);
});

Deno.test("Relay doesn't read from clients while the agent doesn't", async () => {
  await using box = await BoxDouble.make();
  const agent = await Deno.connect({ transport: "unix", path: box.channelPath });
  await agent.write(makeFrame(FrameType.HELLO, 0, new Uint8Array([0xa0])));
  using client = await RawClient.greeted(box);
  for (let stream = 1; stream <= 8; stream++) await client.open(stream, "sink");
  let sent = 0;
  const sending = (async () => {
    for (; sent < 8 * 4; sent++) {
      const part = new Uint8Array(WINDOW / 4);
      await client.send(makeFrame(FrameType.DATA, 1 + sent % 8, part, Channel.STDIN));
    }
  })().catch(() => {});
  const { bytes } = box.relay.state;
  await until(() => box.relay.state.bytes > bytes);
  // What isn't read now never will be; a relay that read on would be done by then.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(sent < 8 * 4, "all was taken though nobody read it");
  assert.ok(box.relay.state.bytes < 3 * WINDOW, `${box.relay.state.bytes} bytes`);
  agent.close();
  await sending;
  assert.notEqual((await box.relay.ended).why, "agent_protocol");
});

Deno.test("Relay puts nothing of its own into a frame that has come in part", async () => {
  await using box = await BoxDouble.start({ open: (stream) => stream.reply({ pid: 1 }) });
  using client = await RawClient.greeted(box);
  for (let number = 1; number <= MAX_STREAMS; number++) await client.open(number, "x");
  for (let reply = 0; reply < MAX_STREAMS; reply++) {
    assert.equal((await client.next())?.type, FrameType.REPLY);
  }
  const [number = 0] = box.agent.opened;
  const frame = makeFrame(FrameType.DATA, number, new Uint8Array(5000).fill(7), Channel.STDOUT);
  const before = box.relay.state.lastTrafficMs;
  box.agent.raw(frame.subarray(0, 2000));
  await until(() => box.relay.state.lastTrafficMs > before);
  const heard = box.relay.state.lastTrafficMs;
  await client.open(MAX_STREAMS + 1, "x");
  await until(() => box.relay.state.lastTrafficMs > heard);
  box.agent.raw(frame.subarray(2000));
  const came: { type: number; stream: number; payload: Uint8Array }[] = [];
  while (came.length < 3) came.push(await client.next() ?? assert.fail("the connection ended"));
  const refused = came.filter(({ stream }) => stream === MAX_STREAMS + 1);
  assert.deepEqual(refused.map(({ type }) => type), [FrameType.ERROR, FrameType.CLOSE]);
  const [data] = came.filter(({ type }) => type === FrameType.DATA);
  assert.deepEqual(data?.payload, new Uint8Array(5000).fill(7));
});

Deno.test("Relay takes one agent only", async () => {
  await using box = await BoxDouble.start();
  const second = await box.boot();
  await second.done;
  await using client = await box.connect();
  await client.request({ op: "ping" });
});

const T = FrameType;
const badClients: readonly [string, readonly Uint8Array[]][] = [
  ["an unknown type", [makeFrame(77, 1)]],
  ["an agent's frame", [makeFrame(T.EXIT, 1, new Uint8Array(3))]],
  ["a frame on stream 0", [makeFrame(T.CLOSE, 0)]],
  ["a frame of 4 GiB", [Uint8Array.fromHex("ffffffff000000010500")]],
  ["a number that is in use", [open(1), open(1)]],
  ["stdin on stdout", [open(1), makeFrame(T.DATA, 1, new Uint8Array(1), Channel.STDOUT)]],
  ["credit for what didn't come", [open(1), makeCredit(1, Channel.STDOUT, 1)]],
  ["more stdin than the window", [
    open(1),
    ...[1, 2, 3, 4, 5].map(() => makeFrame(T.DATA, 1, new Uint8Array(WINDOW / 4), Channel.STDIN)),
  ]],
];
for (const [name, frames] of badClients) {
  Deno.test(`Relay disconnects a client that sends ${name}, and ends its streams`, async () => {
    await using box = await BoxDouble.start({ open: (stream) => stream.reply({ pid: 1 }) });
    await using other = await box.connect();
    using client = await RawClient.greeted(box);
    await client.send(...frames).catch(() => {});
    await client.ended();
    const stream = other.open(exec("x"));
    await stream.reply;
    await until(() => box.relay.state.streams === 1);
    assert.deepEqual(box.agent.violations, []);
    assert.equal(box.agent.streams.size, 1);
  });
}

function open(stream: number): Uint8Array {
  return makeFrame(T.OPEN, stream, encodeMessage(exec("wait"), "run"));
}

Deno.test("Relay disconnects a client that speaks before the hello", async () => {
  await using box = await BoxDouble.make();
  await box.boot({ hello: null });
  using client = await RawClient.connect(box);
  await client.send(open(1));
  await client.ended();
  await until(() => box.relay.state.clients === 0);
  assert.deepEqual(box.agent.opened, []);
});

Deno.test("Relay takes nothing more from a client that doesn't read for long", async () => {
  await using box = await BoxDouble.start();
  using stopped = await RawClient.greeted(box);
  for (let stream = 1; stream <= 6; stream++) {
    const before = box.relay.state.queuedBytes;
    await stopped.open(stream, "bytes", String(9 * WINDOW));
    await until(() => box.relay.state.queuedBytes > before + WINDOW * 0.4 || stream === 6);
  }
  await until(() => box.relay.state.queuedBytes > 4.5 * WINDOW);
  const { length } = box.agent.opened;
  for (let stream = 7; stream <= 20; stream++) await stopped.open(stream, "wait");
  await using client = await box.connect();
  for (let turn = 0; turn < 20; turn++) await client.request({ op: "ping" });
  assert.ok(box.agent.opened.length - 20 <= Math.max(length, 6), `${box.agent.opened.length}`);
  assert.ok(box.relay.state.queuedBytes <= 6 * WINDOW * 1.01);
});

Deno.test("Relay passes nothing but the CLOSE on once a client gave a stream up", async () => {
  const closing = Promise.withResolvers<void>();
  await using box = await BoxDouble.start({
    open: (stream) => {
      stream.reply({ pid: 1 });
      stream.take = (type) => {
        if (type !== T.CLOSE) return;
        stream.frame(T.DATA, new Uint8Array(1000), Channel.STDOUT);
        stream.exit();
        stream.close();
        closing.resolve();
      };
    },
  });
  using client = await RawClient.greeted(box);
  await client.open(1, "x");
  assert.equal((await client.next())?.type, T.REPLY);
  await client.send(makeFrame(T.CLOSE, 1));
  await closing.promise;
  assert.equal((await client.next())?.type, T.CLOSE);
});

Deno.test("Relay drops frames for streams that are over", async () => {
  await using box = await BoxDouble.start();
  using client = await RawClient.greeted(box);
  await client.send(
    makeFrame(T.CLOSE, 9),
    makeCredit(9, Channel.STDOUT, 5),
    open(1),
    makeFrame(T.DATA, 8, new Uint8Array(5), Channel.STDIN),
    makeFrame(T.CLOSE, 1),
    makeFrame(T.CLOSE, 1),
  );
  const types = [];
  for (let frame = await client.next(); frame; frame = await client.next()) {
    types.push(frame.type);
    if (frame.type === T.CLOSE) break;
  }
  assert.equal(types.at(-1), T.CLOSE);
  assert.deepEqual([box.agent.opened, box.relay.state.streams, box.relay.state.clients], [
    [1],
    0,
    1,
  ]);
});

Deno.test("Relay is idle while nothing but background streams is open", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  assert.equal(box.relay.state.idleSinceMs, undefined, "a guest that boots isn't idle");
  const first = client.open(exec("true"));
  await first.exit;
  await first.closed;
  const from = box.relay.state.idleSinceMs;
  assert.ok(from !== undefined);
  await client.request({ op: "ping" });
  await using check = client.open(exec("wait"), { background: true });
  await check.reply;
  assert.equal(box.relay.state.streams, 1);
  assert.equal(box.relay.state.idleSinceMs, from, "a ping and a check are no activity");
  const command = client.open(exec("wait"));
  await command.reply;
  assert.equal(box.relay.state.idleSinceMs, undefined, "a silent command is");
  await command.close();
  const since = box.relay.state.idleSinceMs;
  assert.ok(since !== undefined && since > from, "idle from the command's end on");
  assert.deepEqual(box.agent.violations, [], "the agent sees nothing of it");
});

Deno.test("Relay serves a client while another one floods it", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  using other = await RawClient.greeted(box);
  const words = [open(1), makeFrame(T.CLOSE, 1), makeCredit(9, Channel.STDOUT, 5)];
  const size = words.reduce((sum, { length }) => sum + length, 0);
  const many = new Uint8Array(1000 * size);
  for (let at = 0; at < many.length;) {
    for (const word of words) {
      many.set(word, at);
      at += word.length;
    }
  }
  let over = false;
  const flood = (async () => {
    // It is sent away once it uses a number before the agent's CLOSE, and comes back.
    while (!over) {
      using again = await RawClient.greeted(box);
      await again.send(many).catch(() => {});
    }
  })();
  const bytes = other.send(many).catch(() => {});
  for (let turn = 0; turn < 30; turn++) await client.request({ op: "ping" });
  over = true;
  await Promise.all([flood, bytes]);
  await client.request({ op: "ping" });
  assert.deepEqual(box.agent.violations, []);
});
