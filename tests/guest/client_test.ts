import assert from "node:assert/strict";
import { encodeCbor } from "../../src/deps.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { GuestClient } from "../../src/guest/client.ts";
import { Channel, FrameType, PROTOCOL_VERSION } from "../../src/guest/protocol.ts";
import type { AgentScript, DoubleStream } from "../doubles/agent.ts";
import { BoxDouble, exec } from "../doubles/box.ts";
import { until } from "../support/processes.ts";
import { has, text, withClient } from "./with_client.ts";

Deno.test("GuestClient.connect gives the agent's hello", () =>
  withClient({ hello: { kernel: "6.12.7", bootMs: 99.5 } }, (client) => {
    assert.deepEqual(client.hello, {
      protocol: PROTOCOL_VERSION,
      agent: "double",
      kernel: "6.12.7",
      bootMs: 99.5,
    });
    return Promise.resolve();
  }));

Deno.test("GuestClient.connect waits for an agent that comes later", async () => {
  await using box = await BoxDouble.make();
  const connecting = box.connect();
  await box.boot();
  await using client = await connecting;
  assert.deepEqual(await client.request({ op: "ping" }), {});
});

const hellos: readonly [string, AgentScript["hello"], ErrorCode, RegExp][] = [
  ["another version", { protocol: PROTOCOL_VERSION + 1 }, "agent_protocol", /version 5, not 4/],
  ["no CBOR", Uint8Array.of(0xff, 0), "agent_protocol", /isn't CBOR/],
  ["missing fields", encodeCbor({ protocol: 1 }), "agent_protocol", /agent isn't text/],
  ["silence", null, "boot_timeout", /within 40 ms/],
];
for (const [name, hello, code, message] of hellos) {
  Deno.test(`GuestClient.connect refuses ${name} as hello`, async () => {
    await using box = await BoxDouble.start(hello === undefined ? {} : { hello });
    const timeoutMs = code === "boot_timeout" ? 40 : 5000;
    await assert.rejects(box.connect({ timeoutMs }), has(code, message));
  });
}

Deno.test("GuestClient.connect fails when nobody listens, or the box ends first", async () => {
  await using box = await BoxDouble.make();
  await assert.rejects(GuestClient.connect(`${box.folder}/none`), has("connection_lost", /none/));
  const connecting = box.connect({ lostReason: () => "no memory was left" });
  const agent = await box.boot({ hello: null });
  await agent[Symbol.asyncDispose]();
  await assert.rejects(connecting, has("connection_lost", /no memory was left/));
});

Deno.test("GuestClient.connect can be cancelled before and while it waits", async () => {
  await using box = await BoxDouble.make();
  await assert.rejects(box.connect({ signal: AbortSignal.abort() }), has("cancelled"));
  const abort = new AbortController();
  const connecting = box.connect({ signal: abort.signal });
  abort.abort();
  await assert.rejects(connecting, has("cancelled"));
});

Deno.test("GuestClient.request gets replies", () =>
  withClient({}, async (client) => {
    assert.deepEqual(await client.request({ op: "ping" }), {});
    const configured = await client.request({
      op: "configure",
      hostname: "box",
      grow: true,
      mounts: [],
    });
    assert.deepEqual(configured, { ms: 1.5 });
    assert.deepEqual(await client.request({ op: "shutdown", graceMs: 0 }), {});
    // The end of a stream comes after its answer.
    const open = () => Promise.resolve(`${client.streams} streams are open`);
    await until(() => Promise.resolve(client.streams === 0), open);
  }));

Deno.test("GuestClient.request of shutdown is content with a guest that is gone", async () => {
  const open = (stream: DoubleStream) => {
    stream.agent.goodbye();
    void stream.agent[Symbol.asyncDispose]();
  };
  await using box = await BoxDouble.start({ open });
  await using client = await box.connect();
  assert.deepEqual(await client.request({ op: "shutdown", graceMs: 0 }), {});
  assert.deepEqual(await client.parting, { reason: "shutdown", message: "", alone: true });
});

Deno.test("GuestClient.open is given up by its signal", () =>
  withClient({}, async (client) => {
    const abort = new AbortController();
    const stream = client.open(exec("wait"), { signal: abort.signal });
    await stream.reply;
    abort.abort();
    await assert.rejects(stream.exit, has("cancelled", /run "wait"/));
    await stream.closed;
    assert.throws(() => client.open(exec("wait"), { signal: abort.signal }), has("cancelled"));
    await assert.rejects(
      client.request({ op: "ping" }, { signal: abort.signal }),
      has("cancelled"),
    );
  }));

Deno.test("GuestClient.open refuses a request that no frame holds", () =>
  withClient({}, async (client) => {
    assert.throws(() => client.open(exec("x".repeat(70_000))), has("limit_exceeded", /over 65536/));
    assert.deepEqual(await client.request({ op: "ping" }), {});
  }));

Deno.test("GuestClient tells everything pending why the box is gone", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect({
    lostReason: () => Promise.resolve("the kernel panicked"),
  });
  const stream = client.open(exec("wait"));
  const idle = client.open(exec("wait")); // Nobody looks at its promises.
  await Promise.all([stream.reply, idle.reply]);
  const reading = text(stream.stdout);
  await box.agent[Symbol.asyncDispose]();
  const lost = has("connection_lost", /the kernel panicked/);
  await assert.rejects(stream.exit, lost);
  await assert.rejects(reading, lost);
  await assert.rejects(stream.stdin.getWriter().closed, lost);
  await client.closed;
  assert.equal(client.streams, 0);
  assert.throws(() => client.open(exec("wait")), lost);
  await assert.rejects(client.request({ op: "ping" }), lost);
  await stream.close();
});

Deno.test("GuestClient gives what was read before the box went, then the error", async () => {
  await using box = await BoxDouble.start({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      await stream.write(Channel.STDOUT, new TextEncoder().encode("last words"));
      stream.agent.goodbye("lost", "out of memory");
      void stream.agent[Symbol.asyncDispose]();
    },
  });
  await using client = await box.connect();
  const stream = client.open(exec("x"));
  await client.closed;
  const reader = stream.stdout.getReader();
  assert.equal(new TextDecoder().decode((await reader.read()).value), "last words");
  await assert.rejects(reader.read(), has("connection_lost", /out of memory/));
});

Deno.test("GuestClient.close rejects what is pending and leaves the box alone", async () => {
  await using box = await BoxDouble.start();
  const client = await box.connect();
  const stream = client.open(exec("wait"));
  await stream.reply;
  await client.close();
  await client.close();
  await assert.rejects(stream.exit, has("cancelled"));
  await using other = await box.connect();
  await other.request({ op: "ping" });
  assert.equal(box.relay.state.clients, 1);
});

Deno.test("GuestClient doesn't take data as the answer to a request without channels", () =>
  withClient({
    open: (stream) => {
      stream.reply({});
      stream.frame(FrameType.DATA, new Uint8Array(10), Channel.STDOUT);
    },
  }, async (client) => {
    await client.request({ op: "ping" });
    while (client.streams > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }));

const relayLies: readonly [string, string][] = [
  ["a frame of 4 GiB", "ffffffff 00000001 05 01"],
  ["a stream before the hello", "00000000 00000001 09 00"],
  ["a hello that isn't one", "00000001 00000000 01 00 a0"],
  ["a goodbye before the hello", "00000001 00000000 0a 00 a0"],
];
for (const [name, hex] of relayLies) {
  Deno.test(`GuestClient.connect refuses ${name}`, async () => {
    const folder = await Deno.makeTempDir({ prefix: "hutch-client-" });
    const path = `${folder}/s`;
    using listener = Deno.listen({ transport: "unix", path });
    try {
      const connecting = GuestClient.connect(path, { timeoutMs: 5000 });
      const refused = assert.rejects(connecting, has("agent_protocol"));
      using conn = await listener.accept();
      await conn.write(Uint8Array.fromHex(hex.replaceAll(" ", "")));
      await refused;
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}
