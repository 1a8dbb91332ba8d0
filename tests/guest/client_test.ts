import assert from "node:assert/strict";
import { encodeCbor } from "../../src/deps.ts";
import type { ErrorCode } from "../../src/errors.ts";
import { HutchError } from "../../src/errors.ts";
import { GuestClient } from "../../src/guest/client.ts";
import { makeFrame } from "../../src/guest/codec.ts";
import type { FailureKind } from "../../src/guest/messages.ts";
import {
  Channel,
  END,
  FrameType,
  MAX_PAYLOAD,
  PROTOCOL_VERSION,
  WINDOW,
} from "../../src/guest/protocol.ts";
import type { AgentScript, DoubleStream } from "../doubles/agent.ts";
import { BoxDouble, exec } from "../doubles/box.ts";
import { until } from "../support/processes.ts";

const text = (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => new Response(stream).text();

/** A check for `assert.rejects`. */
function has(code: ErrorCode, message = /^Cannot /): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof HutchError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}

async function withClient(
  script: AgentScript,
  run: (client: GuestClient, box: BoxDouble) => Promise<void>,
): Promise<void> {
  await using box = await BoxDouble.start(script);
  await using client = await box.connect();
  await run(client, box);
}

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
  ["another version", { protocol: PROTOCOL_VERSION + 1 }, "agent_protocol", /version 4, not 3/],
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
  assert.equal(client.goodbye?.reason, "shutdown");
});

const failures: readonly [FailureKind, ErrorCode, RegExp][] = [
  ["bad_cwd", "bad_cwd", /folder "\/"/],
  ["bad_request", "agent_protocol", /execve/],
  ["busy", "limit_exceeded", /execve/],
  ["failed", "guest_failed", /execve \(errno 2\)/],
  ["no_such_user", "no_such_user", /user "root"/],
  ["not_executable", "command_not_executable", /can't be executed/],
  ["not_found", "command_not_found", /no such program/],
  ["window_exceeded", "agent_protocol", /execve/],
];
for (const [kind, code, message] of failures) {
  Deno.test(`GuestStream.reply rejects with ${code} for ${kind}`, () =>
    withClient({}, async (client) => {
      const stream = client.open(exec("fail", kind));
      await assert.rejects(stream.reply, has(code, message));
      await assert.rejects(stream.exit, has(code));
      await assert.rejects(text(stream.stdout), has(code));
      await assert.rejects(stream.stdin.getWriter().write(new Uint8Array(1)), has(code));
      await stream.closed;
    }));
}

Deno.test("GuestStream.reply says no_space whatever failed for it", () =>
  withClient({
    open: (stream) => {
      stream.error({ errno: 28 });
      stream.close();
    },
  }, (client) => assert.rejects(client.open(exec("x")).reply, has("no_space"))));

Deno.test("GuestStream carries a command's streams and its end", () =>
  withClient({
    open: async (stream) => {
      stream.reply({ pid: 5 });
      await stream.write(Channel.STDERR, new TextEncoder().encode("warned"));
      let input = "";
      for (let part = await stream.read(); part; part = await stream.read()) {
        input += new TextDecoder().decode(part);
      }
      await stream.write(Channel.STDOUT, new TextEncoder().encode(input.toUpperCase()));
      stream.end(Channel.STDOUT);
      stream.end(Channel.STDERR);
      stream.exit(null, "SIGKILL");
      stream.close();
    },
  }, async (client) => {
    await using stream = client.open(exec("upper"));
    const writer = stream.stdin.getWriter();
    await writer.write(new TextEncoder().encode("some "));
    await writer.write(new TextEncoder().encode("text"));
    await writer.close();
    assert.deepEqual(await stream.reply, { pid: 5 });
    assert.equal(await text(stream.stderr), "warned");
    assert.equal(await text(stream.stdout), "SOME TEXT");
    assert.deepEqual(await stream.exit, { code: null, signal: "SIGKILL", timedOut: false });
    await stream.closed;
    assert.equal(stream.control({ op: "signal", signal: 15 }), false);
  }));

Deno.test("GuestStream.control sends signals", () =>
  withClient({}, async (client) => {
    const stream = client.open(exec("wait"));
    await stream.reply;
    assert.equal(stream.control({ op: "signal", signal: 15 }), true);
    assert.deepEqual(await stream.exit, { code: null, signal: "SIGTERM", timedOut: false });
  }));

for (const frameSize of [7, 4096, MAX_PAYLOAD]) {
  Deno.test(`GuestStream.stdout holds a window at most, by frames of ${frameSize}`, () =>
    withClient({}, async (client, box) => {
      const total = (frameSize < 100 ? 1 : 5) * WINDOW + 12345;
      const stream = client.open(exec("bytes", String(total), String(frameSize)));
      await stream.reply;
      while (stream.queuedBytes < WINDOW) await client.request({ op: "ping" });
      await client.request({ op: "ping" });
      assert.equal(stream.queuedBytes, WINDOW);
      assert.equal(box.relay.state.queuedBytes, 0);
      let seen = 0;
      for await (const chunk of stream.stdout) {
        seen += chunk.length;
        assert.ok(stream.queuedBytes <= WINDOW);
      }
      assert.equal(seen, total);
      assert.deepEqual(await stream.exit, { code: 0, signal: null, timedOut: false });
    }));
}

Deno.test("GuestStream.stdout gives the bytes unchanged, in order", () =>
  withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      for (let turn = 0; turn < 40; turn++) {
        const bytes = new Uint8Array(1 + turn * turn * 99).fill(turn);
        await stream.write(Channel.STDOUT, bytes, 1 + turn * 977);
      }
      stream.exit();
      stream.close();
    },
  }, async (client) => {
    const bytes = new Uint8Array(await new Response(client.open(exec("x")).stdout).arrayBuffer());
    let at = 0;
    for (let turn = 0; turn < 40; turn++) {
      const part = bytes.subarray(at, at += 1 + turn * turn * 99);
      assert.ok(part.every((byte) => byte === turn), `turn ${turn}`);
    }
    assert.equal(at, bytes.length);
  }));

Deno.test("GuestStream.stdout isn't stopped by a frame that comes byte by byte", () =>
  withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      const frame = makeFrame(FrameType.DATA, stream.number, new Uint8Array(3), Channel.STDOUT);
      for (const byte of [...frame, ...frame]) {
        stream.agent.raw(Uint8Array.of(byte));
        await stream.agent.flushed();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      stream.exit();
      stream.close();
    },
  }, async (client) => {
    const output = await new Response(client.open(exec("x")).stdout).bytes();
    assert.deepEqual(output, new Uint8Array(6));
  }));

Deno.test("GuestStream.stdout that is cancelled lets the command go on", () =>
  withClient({}, async (client) => {
    const stream = client.open(exec("bytes", String(8 * WINDOW)));
    await stream.stdout.cancel();
    assert.deepEqual(await stream.exit, { code: 0, signal: null, timedOut: false });
    assert.equal(stream.queuedBytes, 0);
  }));

Deno.test("GuestStream.stdout that is cancelled while it waits ends quietly", () =>
  withClient({}, async (client) => {
    await using stream = client.open(exec("wait"));
    const reader = stream.stdout.getReader();
    const read = reader.read();
    await stream.reply;
    await reader.cancel();
    assert.deepEqual(await read, { done: true, value: undefined });
  }));

Deno.test("GuestStream.stdin sends as much as the command reads, and a window more", () =>
  withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      while (stream.received < WINDOW) await stream.changed();
      while (await stream.read()) { /* takes it all */ }
      assert.ok(stream.peakStdin <= WINDOW, `${stream.peakStdin} bytes waited`);
      stream.exit(stream.received === 6 * WINDOW + 5 ? 0 : 1);
      stream.close();
    },
  }, async (client) => {
    const stream = client.open(exec("sink"));
    const writer = stream.stdin.getWriter();
    await writer.write(new Uint8Array(6 * WINDOW));
    await writer.write(new Uint8Array(0));
    await writer.write(new Uint8Array(5));
    await writer.close();
    assert.deepEqual(await stream.exit, { code: 0, signal: null, timedOut: false });
  }));

Deno.test("GuestStream.stdin fails once the command ended, even while it waits for credit", () =>
  withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      while (stream.received < WINDOW) await stream.changed();
      stream.exit(3);
      stream.close();
    },
  }, async (client) => {
    const stream = client.open(exec("exit"));
    const writer = stream.stdin.getWriter();
    await assert.rejects(writer.write(new Uint8Array(2 * WINDOW)), has("broken_pipe", /has ended/));
    await assert.rejects(writer.closed, has("broken_pipe"));
    assert.deepEqual(await stream.exit, { code: 3, signal: null, timedOut: false });
  }));

Deno.test("GuestStream.stdin fails when the command closes it", () =>
  withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      stream.frame(FrameType.DATA, new Uint8Array(0), Channel.STDIN | END);
      await stream.hostClosed.promise;
    },
  }, async (client) => {
    await using stream = client.open(exec("true"));
    await assert.rejects(stream.stdin.getWriter().closed, has("broken_pipe", /has closed it/));
  }));

Deno.test("GuestStream.stdin that is aborted while it waits for credit ends the input", () => {
  const full = Promise.withResolvers<void>();
  return withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      while (stream.received < WINDOW) await stream.changed();
      full.resolve();
      await stream.changed();
      while (await stream.read()) { /* until its end */ }
      stream.exit(stream.received === WINDOW ? 0 : 1);
      stream.close();
    },
  }, async (client) => {
    const stream = client.open(exec("sink"));
    const writer = stream.stdin.getWriter();
    const writing = writer.write(new Uint8Array(3 * WINDOW)).catch(() => {});
    await full.promise;
    await writer.abort(new Error("no more"));
    await writing;
    assert.deepEqual(await stream.exit, { code: 0, signal: null, timedOut: false });
  });
});

Deno.test("GuestStream.exit doesn't wait for what the command left behind", () => {
  const closed = Promise.withResolvers<void>();
  return withClient({
    open: async (stream) => {
      stream.reply({ pid: 1 });
      await stream.write(Channel.STDOUT, new TextEncoder().encode("all"));
      stream.exit();
      void stream.write(Channel.STDOUT, new Uint8Array(100));
      await stream.hostClosed.promise;
      closed.resolve();
    },
  }, async (client) => {
    const stream = client.open(exec("daemon"));
    assert.equal(await text(stream.stdout), "all");
    assert.deepEqual(await stream.exit, { code: 0, signal: null, timedOut: false });
    await stream.closed;
    await closed.promise;
  });
});

Deno.test("GuestStream.close kills the command and rejects what is pending", () =>
  withClient({}, async (client, box) => {
    const stream = client.open(exec("wait"));
    await stream.reply;
    await stream.close();
    await assert.rejects(stream.exit, has("cancelled"));
    await assert.rejects(text(stream.stdout), has("cancelled"));
    assert.equal(box.agent.streams.size, 0);
    assert.equal(box.relay.state.streams, 0);
    await stream.close();
  }));

Deno.test("GuestStream.close doesn't wait for ever", () =>
  withClient({
    open: (stream) => {
      stream.reply({ pid: 1 });
      stream.take = () => {};
    },
  }, async (client) => {
    const stream = client.open(exec("wait"));
    await stream.reply;
    await stream.close({ timeoutMs: 10 });
  }));

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

const lies: readonly [string, (stream: DoubleStream) => void, RegExp][] = [
  ["a reply of no CBOR", (s) => s.frame(FrameType.REPLY, Uint8Array.of(0xff)), /isn't CBOR/],
  ["a reply of 64 KiB of nesting", (s) => s.frame(FrameType.REPLY, deep()), /isn't CBOR/],
  ["a reply without a pid", (s) => s.reply({}), /pid isn't/],
  ["an error of an unknown kind", (s) => s.error({ kind: "toString" }), /kind is unknown/],
  ["an exit without a code", (s) => [s.reply({ pid: 1 }), s.exit(null)], /code isn't/],
  ["no answer at all", (s) => s.close(), /ended early/],
  ["no exit", (s) => [s.reply({ pid: 1 }), s.close()], /ended early/],
];
for (const [name, lie, message] of lies) {
  Deno.test(`GuestStream rejects with agent_protocol for ${name}`, () =>
    withClient({
      open: (stream) => stream.argv[0] === "lie" ? lie(stream) : stream.close(),
    }, async (client) => {
      const stream = client.open(exec("lie"));
      await assert.rejects(stream.exit, has("agent_protocol", message));
      await stream.closed;
      assert.equal(client.lost, undefined);
      assert.equal(client.streams, 0);
    }));
}

function deep(): Uint8Array {
  return new Uint8Array(65536).fill(0x81);
}

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
