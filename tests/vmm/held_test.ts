import assert from "node:assert/strict";
import { HutchError } from "../../src/errors.ts";
import { makeCredit, makeFrame } from "../../src/guest/codec.ts";
import { encodeMessage } from "../../src/guest/encode.ts";
import { makeHeldAsk } from "../../src/guest/held_messages.ts";
import { Channel, END, FrameType, HELD, WINDOW } from "../../src/guest/protocol.ts";
import { mainExitOf } from "../../src/vmm/exit_payload.ts";
import { encodeCbor } from "../../src/deps.ts";
import { type DoubleStream, lying } from "../doubles/agent.ts";
import { BoxDouble, type BoxDoubleOptions, exec } from "../doubles/box.ts";

const ID = "0123456789ab";
const text = (stream: ReadableStream<Uint8Array<ArrayBuffer>>) => new Response(stream).text();
const attach = { id: ID, output: true, replay: true };

async function until(so: () => boolean | Promise<boolean>): Promise<void> {
  while (!await so()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** A box whose log is kept here. */
function logging(): { readonly options: BoxDoubleOptions; readonly log: Map<string, string> } {
  const log = new Map<string, string>();
  const add = (key: string, more: string) => log.set(key, (log.get(key) ?? "") + more);
  return {
    log,
    options: {
      held: {
        log: {
          write: (source, channel, bytes) =>
            add(`${source}/${channel}`, new TextDecoder().decode(bytes)),
          end: (source) => add(`${source}/end`, "."),
        },
      },
    },
  };
}

Deno.test("Relay holds a command whose client vanished, for another to replay, feed and end", async () => {
  const { options, log } = logging();
  await using box = await BoxDouble.start({}, options);
  const first = await box.connect();
  const started = first.hold({ id: ID, attach: true }, exec("cat"));
  const writer = started.stdin.getWriter();
  await writer.write(new TextEncoder().encode("before "));
  const reader = started.stdout.getReader();
  assert.equal(new TextDecoder().decode((await reader.read()).value), "before ");
  await first.close();
  await until(() => box.relay.state.clients === 0);
  assert.equal(box.relay.state.streams, 1);

  await using second = await box.connect();
  const [listed] = await second.held();
  assert.deepEqual([listed?.id, listed?.command, listed?.exit], [ID, ["cat"], null]);
  const joined = second.attach(attach);
  assert.deepEqual(await joined.reply, { pid: 101 });
  const output = text(joined.stdout);
  const more = joined.stdin.getWriter();
  await more.write(new TextEncoder().encode("after"));
  await more.close();
  assert.equal(await output, "before after");
  assert.deepEqual(await joined.exit, { code: 0, signal: null, timedOut: false });
  await until(() => box.relay.state.streams === 0);
  // Its end is kept, and so is what it said.
  const late = second.attach(attach);
  assert.equal(await text(late.stdout), "before after");
  assert.equal((await late.exit).code, 0);
  assert.equal(typeof (await second.held())[0]?.exit, "string");
  assert.deepEqual(Object.fromEntries(log), { [`${ID}/1`]: "before after", [`${ID}/end`]: "." });
  assert.deepEqual(box.agent.violations, []);
});

Deno.test("Relay gives a client that keeps reading all of a held command's output", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  const stream = client.hold({ id: ID, attach: true }, exec("bytes", String(20 * WINDOW)));
  let seen = 0;
  for await (const chunk of stream.stdout) {
    seen += chunk.length;
    if (seen < 3 * WINDOW) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(seen, 20 * WINDOW);
  assert.equal((await stream.exit).code, 0);
  assert.deepEqual(box.agent.violations, []);
});

Deno.test("Relay lets a client that takes nothing stall a held command for a short time only", async () => {
  await using box = await BoxDouble.start();
  await using idle = await box.connect();
  const unread = idle.hold({ id: ID, attach: true }, exec("bytes", String(30 * WINDOW)));
  await unread.reply;
  await using other = await box.connect();
  const end = other.attach({ id: ID, output: false, replay: false });
  assert.equal((await end.exit).code, 0); // without a word from the one that doesn't read
  assert.ok(box.relay.state.queuedBytes <= WINDOW, `${box.relay.state.queuedBytes} bytes`);
  const got = await text(unread.stdout);
  assert.match(got, /\n\[hutch: \d+ bytes were left out here\]\n/);
  assert.ok(got.length < 3 * WINDOW, `${got.length}`);
  assert.equal((await unread.exit).code, 0);
});

Deno.test("Relay passes signals to held commands, from whoever is joined", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  const quiet = client.hold({ id: ID, attach: false }, exec("wait"));
  await quiet.reply;
  await quiet.closed;
  const joined = client.attach({ id: ID, output: false, replay: false });
  joined.control({ op: "signal", signal: 15 });
  assert.deepEqual(await joined.exit, { code: null, signal: "SIGTERM", timedOut: false });
});

Deno.test("Relay refuses held commands: unknown ones, ids in use, what can't start, too many", async () => {
  await using box = await BoxDouble.start();
  await using client = await box.connect();
  const refusal = async (reply: Promise<unknown>) => {
    const error: unknown = await reply.then(() => undefined, (reason) => reason);
    return error instanceof HutchError ? error.code : error;
  };
  assert.equal(await refusal(client.attach(attach).reply), "execution_not_found");
  assert.equal(
    await refusal(client.hold({ id: ID, attach: true }, exec("fail", "not_found")).reply),
    "command_not_found",
  );
  assert.deepEqual(await client.held(), []);
  const id = (n: number) => n.toString(16).padStart(12, "0");
  const start = (n: number) => client.hold({ id: id(n), attach: false }, exec("wait")).reply;
  await Promise.all(Array.from({ length: 128 }, (_, n) => start(n)));
  assert.equal(await refusal(start(500)), "limit_exceeded");
  assert.equal(await refusal(start(5)), "agent_protocol");
  assert.equal((await client.held()).length, 128);
});

Deno.test("Relay keeps the newest 128 ends, and the main command's", async () => {
  const ends: Uint8Array[] = [];
  const { options } = logging();
  const held = { log: { write() {}, end() {} }, ...options.held };
  await using box = await BoxDouble.start({}, {
    held: { ...held, mainEnded: (exit) => ends.push(exit) },
  });
  await using client = await box.connect();
  await client.hold({ id: "main", attach: true }, exec("exit", "3")).exit;
  for (let n = 0; n < 140; n++) {
    const id = n.toString(16).padStart(12, "0");
    await client.hold({ id, attach: true }, exec("true")).exit;
  }
  const list = await client.held();
  assert.equal(list.length, 128);
  assert.deepEqual([list[0]?.id, list.at(-1)?.id], ["main", "00000000008b"]);
  assert.deepEqual(ends.map(mainExitOf), [{ code: 3, signal: null }]);
});

const lies: readonly [string, (stream: DoubleStream) => void][] = [
  ["an endless output", (stream) => {
    stream.reply({ pid: 1 });
    const frame = makeFrame(FrameType.DATA, stream.number, new Uint8Array(64 * 1024), 1);
    for (let sent = 0; sent < 40; sent++) stream.agent.raw(frame);
  }],
  ["credit for input that nobody sent", (stream) => {
    stream.reply({ pid: 1 });
    stream.agent.raw(makeCredit(stream.number, Channel.STDIN, 1));
  }],
  ["two ends", (stream) => {
    stream.reply({ pid: 1 });
    stream.exit();
    stream.exit();
  }],
];
for (const [name, lie] of lies) {
  Deno.test(`Relay ends with agent_protocol for ${name} of a held command`, async () => {
    // The client reads nothing, so that nothing is given back.
    await using box = await BoxDouble.start({ open: lying(lie) });
    await using client = await box.connect();
    client.hold({ id: ID, attach: true }, exec("x"));
    assert.equal((await box.relay.ended).why, "agent_protocol");
  });
}

Deno.test("Relay takes an end that isn't readable, and a stream that ends without one", async () => {
  const ends: Uint8Array[] = [];
  const held = { log: { write() {}, end() {} }, mainEnded: (exit: Uint8Array) => ends.push(exit) };
  for (const part of [new Uint8Array([0xff, 1, 2]), undefined]) {
    await using box = await BoxDouble.start({
      open: (stream) => {
        stream.reply({ pid: 1 });
        if (part) stream.frame(FrameType.EXIT, part);
        stream.close();
      },
    }, { held });
    await using client = await box.connect();
    const { closed } = client.hold({ id: "main", attach: true }, exec("x"));
    await closed;
  }
  assert.deepEqual(ends.map(mainExitOf), [
    { code: null, signal: null },
    { code: null, signal: "SIGKILL" },
  ]);
});

Deno.test("Relay drops a client that asks for held commands in no way that there is", async () => {
  await using box = await BoxDouble.start();
  const payloads = [
    "",
    "{}\n",
    '{"op":"attach","id":"../x","output":true,"replay":true}\n',
    "x".repeat(9000),
  ]
    .map((json) => new TextEncoder().encode(json || "\n"));
  const good = makeHeldAsk(
    { op: "start", id: ID, command: [], stdin: false, tty: false, attach: true },
    encodeMessage(exec("wait"), "run"),
  );
  for (const payload of payloads) {
    using conn = await Deno.connect({ transport: "unix", path: box.path });
    await conn.read(new Uint8Array(1000));
    await conn.write(makeFrame(FrameType.OPEN, 1, payload, HELD));
    while (await conn.read(new Uint8Array(1000)) !== null) { /* until it is let go */ }
  }
  // One that sends output, or more input than its window, isn't kept either.
  using conn = await Deno.connect({ transport: "unix", path: box.path });
  await conn.read(new Uint8Array(1000));
  await conn.write(makeFrame(FrameType.OPEN, 1, good, HELD));
  await conn.write(makeFrame(FrameType.DATA, 1, new Uint8Array(1), Channel.STDOUT | END));
  while (await conn.read(new Uint8Array(1000)) !== null) { /* until it is let go */ }
  await using client = await box.connect();
  await client.request({ op: "ping" });
});

Deno.test("mainExitOf reads what the agent writes", () => {
  const read = (value: unknown) => mainExitOf(encodeCbor(value));
  assert.deepEqual(read({ code: 255, signal: null, timedOut: false }), { code: 255, signal: null });
  assert.deepEqual(read({ code: null, signal: "SIGRTMIN+3", timedOut: true }), {
    code: null,
    signal: "SIGRTMIN+3",
  });
  for (const bad of [[], { code: 1.5 }, { code: "x" }, { signal: "\u001b[2J" }, { signal: 9 }]) {
    assert.deepEqual(read(bad), { code: null, signal: null });
  }
});
