import assert from "node:assert/strict";
import { decodeCbor } from "../../src/deps.ts";
import { ALONE, FrameType, WINDOW } from "../../src/guest/protocol.ts";
import { BoxDouble, until } from "../doubles/box.ts";
import { RawClient } from "../doubles/raw_client.ts";

Deno.test("Relay broadcasts a goodbye after what came before, then closes the channel", async () => {
  const goodbyes: unknown[] = [];
  await using box = await BoxDouble.start({
    open: (stream) => {
      stream.reply({ pid: 1 });
      stream.exit(7);
      stream.close();
      stream.agent.goodbye("shutdown", "bye");
    },
  }, { onGoodbye: (payload) => goodbyes.push(decodeCbor(payload)) });
  using first = await RawClient.greeted(box);
  using other = await RawClient.greeted(box);
  await first.open(1, "x");
  const types = [];
  for (let at = 0; at < 4; at++) types.push((await first.next())?.type);
  assert.deepEqual(types, [FrameType.REPLY, FrameType.EXIT, FrameType.CLOSE, FrameType.GOODBYE]);
  assert.equal((await other.next())?.type, FrameType.GOODBYE);
  assert.deepEqual(await box.relay.ended, {
    why: "agent_closed",
    message: "the agent said goodbye",
  });
  assert.equal(await other.next(), null);
  assert.deepEqual(goodbyes, [{ reason: "shutdown", message: "bye" }]);
});

for (const clients of [1, 2]) {
  Deno.test(`Relay says to one of ${clients} clients whether it hears the goodbye alone`, async () => {
    await using box = await BoxDouble.start();
    using stack = new DisposableStack();
    const heard = [];
    for (let at = 0; at < clients; at++) heard.push(stack.use(await RawClient.greeted(box)));
    box.agent.goodbye();
    const flags = clients === 1 ? ALONE : 0;
    for (const client of heard) {
      assert.partialDeepStrictEqual(await client.next(), { type: FrameType.GOODBYE, flags });
    }
  });
}

Deno.test("Relay says to no client that it is alone once commands may be held", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  await client.held();
  box.agent.goodbye();
  assert.partialDeepStrictEqual(await client.parting, { reason: "shutdown", alone: false });
});

Deno.test("Relay.ended tells of the agent's end, and clients get what was queued", async () => {
  await using box = await BoxDouble.start();
  using client = await RawClient.greeted(box);
  await client.open(1, "bytes", String(WINDOW), "1000");
  await until(() => box.agent.streams.size === 0 && box.agent.opened.length === 1);
  await box.agent[Symbol.asyncDispose]();
  assert.equal((await box.relay.ended).why, "agent_closed");
  let payload = 0;
  const types = new Set<number>();
  for (let frame = await client.next(); frame; frame = await client.next()) {
    types.add(frame.type);
    if (frame.type === FrameType.DATA) payload += frame.payload.length;
  }
  assert.equal(payload, WINDOW);
  assert.ok(types.has(FrameType.EXIT) && types.has(FrameType.CLOSE));
  await box.relay.drain(5000);
});

Deno.test("Relay.drain gives a client that doesn't read no more than its time", async () => {
  await using box = await BoxDouble.start();
  using client = await RawClient.greeted(box);
  await client.open(1, "bytes", String(10 * WINDOW));
  await until(() => box.relay.state.queuedBytes > WINDOW / 4);
  await box.relay.drain(5);
  assert.ok(box.relay.state.queuedBytes > 0);
});

Deno.test("Relay.quiet says no while a client hasn't taken all, and once commands may be held", async () => {
  await using box = await BoxDouble.start();
  assert.equal(box.relay.quiet, true);
  {
    using slow = await RawClient.greeted(box);
    await slow.open(1, "bytes", String(10 * WINDOW));
    await until(() => box.relay.state.queuedBytes > 0);
    assert.equal(box.relay.quiet, false);
  }
  await until(() => box.relay.quiet); // it went
  await using client = await box.connect();
  await client.held();
  assert.equal(box.relay.quiet, false);
});

Deno.test("Relay.close ends clients, agent and listener, twice as well as once", async () => {
  await using box = await BoxDouble.start();
  using client = await RawClient.greeted(box);
  box.relay.close();
  box.relay.close();
  await client.ended();
  await box.agent.done;
  assert.equal((await box.relay.ended).why, "closed");
  await assert.rejects(Deno.connect({ transport: "unix", path: box.path }));
});
