import assert from "node:assert/strict";
import type { ErrorCode } from "../../src/errors.ts";
import { makeFrame } from "../../src/guest/codec.ts";
import type { FailureKind } from "../../src/guest/messages.ts";
import { Channel, END, FrameType, MAX_PAYLOAD, WINDOW } from "../../src/guest/protocol.ts";
import type { DoubleStream } from "../doubles/agent.ts";
import { exec } from "../doubles/box.ts";
import { has, text, withClient } from "./with_client.ts";

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
