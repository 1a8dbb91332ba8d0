import assert from "node:assert/strict";
import { encodeCbor } from "../../src/deps.ts";
import { makeFrame } from "../../src/guest/codec.ts";
import {
  Channel,
  END,
  FrameType,
  MAX_MESSAGE,
  MAX_PAYLOAD,
  MAX_STREAMS,
  WINDOW,
} from "../../src/guest/protocol.ts";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";
import type { Peer, PeerStream } from "./peer.ts";

const cc = needs("cc");

function agentTest(name: string, body: (agent: NativeAgent) => Promise<void>): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using agent = await NativeAgent.start();
    await body(agent);
  });
}

/** A command that runs until it is killed, and has answered. */
async function sleeper(peer: Peer): Promise<PeerStream> {
  const stream = peer.exec(["sleep", "1000"], { stdin: true });
  const frame = await stream.next();
  assert.equal(frame?.type, FrameType.REPLY);
  return stream;
}

const raw = (type: number, stream: number, payload?: Uint8Array, flags?: number) =>
  makeFrame(type, stream, payload, flags);

function header(length: number, stream: number, type: number): Uint8Array {
  const bytes = makeFrame(type, stream);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
}

const fatal: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["noise", new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), /type/],
  ["zeros", new Uint8Array(64), /stream 0/],
  ["a DATA frame that is too long", header(MAX_PAYLOAD + 1, 1, FrameType.DATA), /size limit/],
  ["a length of 4 GiB", header(0xffffffff, 1, FrameType.DATA), /size limit/],
  ["a message that is too long", header(MAX_MESSAGE + 1, 1, FrameType.OPEN), /size limit/],
  ["a frame on stream 0", raw(FrameType.OPEN, 0, encodeCbor({ op: "ping" })), /stream 0/],
  ["an agent's frame", raw(FrameType.REPLY, 1), /type/],
  ["an unknown type", raw(77, 1), /type/],
];

for (const [name, bytes, why] of fatal) {
  agentTest(`gives up, saying why, after ${name}`, async (agent) => {
    agent.expectLost();
    const running = await sleeper(agent.peer);
    agent.peer.raw(bytes);
    const goodbye = await agent.peer.goodbye;
    assert.partialDeepStrictEqual(goodbye, { reason: "lost" });
    assert.match(JSON.stringify(goodbye), why);
    assert.deepEqual((await running.outcome()).order, ["LOST"]);
  });
}

agentTest("ends quietly when the channel ends inside a frame", async ({ peer }) => {
  await peer.hello;
  peer.raw(raw(FrameType.OPEN, 1, encodeCbor({ op: "ping" })).subarray(0, 13));
  await peer.finish();
  await peer.ended;
  assert.equal(await peer.goodbye, undefined);
});

agentTest("reads frames that come byte by byte", async ({ peer }) => {
  const stream = peer.expect(9);
  for (const byte of raw(FrameType.OPEN, 9, encodeCbor({ op: "ping" }))) {
    peer.raw(new Uint8Array([byte]));
  }
  assert.deepEqual((await stream.outcome()).order, ["REPLY", "CLOSE"]);
});

agentTest("drops frames of streams that it doesn't have", async ({ peer }) => {
  for (const type of [FrameType.CREDIT, FrameType.CONTROL, FrameType.CLOSE, FrameType.DATA]) {
    peer.send(type, 4242, new Uint8Array(4));
  }
  peer.send(FrameType.DATA, 4242, new Uint8Array(MAX_PAYLOAD));
  assert.deepEqual((await peer.open({ op: "ping" }).outcome()).reply, {});
});

const badRequests: readonly (readonly [string, unknown])[] = [
  ["no CBOR", new Uint8Array([0xff, 0xff])],
  ["nothing", new Uint8Array(0)],
  ["an array", ["op", "ping"]],
  ["no op", { argv: [] }],
  ["an unknown op", { op: "fly" }],
  ["an op that isn't a text", { op: 1 }],
  ["a missing key", { op: "exec", argv: ["true"] }],
  ["argv that isn't a list", {
    op: "exec",
    argv: "true",
    env: [],
    cwd: "/",
    user: "0",
    stdin: false,
  }],
  ["a number in argv", { op: "exec", argv: [1], env: [], cwd: "/", user: "0", stdin: false }],
  ["stdin that isn't a boolean", {
    op: "exec",
    argv: ["true"],
    env: [],
    cwd: "/",
    user: "0",
    stdin: 1,
  }],
  ["a guest's request", { op: "configure", hostname: "x", grow: false, mounts: [] }],
  ["bytes behind", new Uint8Array([...encodeCbor({ op: "ping" }), 0])],
  [
    "a key twice",
    new Uint8Array([
      0xa2,
      0x62,
      0x6f,
      0x70,
      0x64,
      0x70,
      0x69,
      0x6e,
      0x67,
      0x62,
      0x6f,
      0x70,
      0x64,
      0x70,
      0x69,
      0x6e,
      0x67,
    ]),
  ],
  [
    "a list longer than the message",
    new Uint8Array([0xa1, 0x64, 0x61, 0x72, 0x67, 0x76, 0x9b, 0, 0, 0, 0xff, 0, 0, 0, 0]),
  ],
  [
    "a text longer than the message",
    new Uint8Array([0xa1, 0x62, 0x6f, 0x70, 0x7b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
  ],
  [
    "an indefinite length",
    new Uint8Array([0xbf, 0x62, 0x6f, 0x70, 0x64, 0x70, 0x69, 0x6e, 0x67, 0xff]),
  ],
  ["deep nesting", new Uint8Array([0xa1, 0x61, 0x78, ...new Uint8Array(60_000).fill(0x81)])],
];

agentTest("refuses requests that are malformed, and goes on", async ({ peer }) => {
  for (const [name, message] of badRequests) {
    const outcome = await peer.open(message).outcome();
    assert.partialDeepStrictEqual(outcome.error, { kind: "bad_request" }, name);
    assert.deepEqual(outcome.order, ["ERROR", "CLOSE"], name);
  }
  const extra = await peer.open({ later: [{ deep: new Uint8Array(9) }, 1.5, null, -7], op: "ping" })
    .outcome();
  assert.deepEqual(extra.reply, {});
});

const mount = { tag: "uservol0", path: "/a/b", readOnly: true };
const badMounts: readonly (readonly [string, unknown])[] = [
  ["no list", { ...mount }],
  ["no map", ["uservol0"]],
  ["an empty map", [{}]],
  ["a missing tag", [{ path: "/a", readOnly: true }]],
  ["a missing path", [{ tag: "a", readOnly: true }]],
  ["a missing readOnly", [{ tag: "a", path: "/a" }]],
  ["a readOnly that isn't a boolean", [{ ...mount, readOnly: 1 }]],
  ["an op in a mount", [{ ...mount, op: "ping" }]],
  ["mounts in a mount", [{ ...mount, mounts: [mount] }]],
  ["an empty tag", [{ ...mount, tag: "" }]],
  ["a tag that is a path", [{ ...mount, tag: "../etc" }]],
  ["a long tag", [{ ...mount, tag: "a".repeat(33) }]],
  ["a relative path", [{ ...mount, path: "a/b" }]],
  ["an empty path", [{ ...mount, path: "" }]],
  ["the root", [{ ...mount, path: "//" }]],
  ["a path with ..", [{ ...mount, path: "/a/../b" }]],
  ["a path that ends with ..", [{ ...mount, path: "/a/.." }]],
  ["a path with .", [{ ...mount, path: "/a/./b" }]],
  ["a path with NUL", [{ ...mount, path: "/a\0b" }]],
  ["a long path", [{ ...mount, path: `/${"a".repeat(1023)}` }]],
  ["two kinds in one", [{ ...mount, tmpfs: 1, mode: 0o700 }]],
  ["no kind", [{ path: "/a", readOnly: true, noexec: true }]],
  ["a noexec that isn't a boolean", [{ ...mount, noexec: "yes" }]],
  ["a tmpfs without a mode", [{ path: "/a", readOnly: true, tmpfs: 1 }]],
  ["a tmpfs as large as no number", [{ path: "/a", readOnly: true, mode: 0o700, tmpfs: 2 ** 32 }]],
  ["a tmpfs of less than nothing", [{ path: "/a", readOnly: true, mode: 0o700, tmpfs: -1 }]],
  ["a tmpfs with half a size", [{ path: "/a", readOnly: true, mode: 0o700, tmpfs: 0.5 }]],
  ["a tmpfs with a set-user-ID mode", [{ path: "/a", readOnly: true, mode: 0o4755, tmpfs: 1 }]],
  ["a disk that is the box's", [{ path: "/a", readOnly: true, grow: false, disk: 1 }]],
  ["a disk behind z", [{ path: "/a", readOnly: true, grow: false, disk: 26 }]],
  ["a disk without grow", [{ path: "/a", readOnly: true, disk: 2 }]],
  ["a grow in a share", [{ ...mount, grow: true }]],
  ["a bad one behind a good one", [mount, { ...mount, path: "/" }]],
  ["65 of them", Array.from({ length: 65 }, () => mount)],
];

agentTest("reads mounts, and refuses those that are malformed", async ({ peer }) => {
  const ask = async (mounts: unknown) =>
    (await peer.open({ op: "configure", hostname: "x", grow: false, mounts }).outcome()).error;
  const good = [
    [],
    [mount],
    [{ ...mount, later: [1, { x: null }] }],
    [{ tag: "z9".repeat(16), path: `/${"a".repeat(1022)}`, readOnly: false }],
    [{ ...mount, path: "/..a/b../.c", noexec: true }],
    [{ path: "/a", readOnly: false, tmpfs: 2 ** 32 - 1, mode: 0o1777, noexec: true }],
    [{ path: "/a", readOnly: false, disk: 25, grow: true }],
    Array.from({ length: 64 }, () => mount),
  ];
  for (const mounts of good) {
    assert.match(JSON.stringify(await ask(mounts)), /isn't the first process/);
  }
  for (const [name, mounts] of badMounts) {
    assert.match(JSON.stringify(await ask(mounts)), /read the request: .*mount/, name);
  }
});

const breaches: readonly (readonly [string, (peer: Peer, stream: PeerStream) => void, string])[] = [
  ["more stdin than the window", (_, stream) => {
    for (let sent = 0; sent < 4 * WINDOW; sent += MAX_PAYLOAD) {
      stream.input(new Uint8Array(MAX_PAYLOAD));
    }
  }, "window_exceeded"],
  ["data after its end", (_, stream) => {
    stream.input("", true);
    stream.input("x");
  }, "bad_request"],
  [
    "data on an output",
    (peer, stream) => peer.send(FrameType.DATA, stream.number, new Uint8Array(1), Channel.STDOUT),
    "bad_request",
  ],
  ["an empty DATA frame", (_, stream) => stream.input(""), "bad_request"],
  ["credit for what never came", (_, stream) => stream.credit(Channel.STDOUT, 1), "bad_request"],
  ["credit for nothing", (_, stream) => stream.credit(Channel.STDOUT, 0), "bad_request"],
  ["credit for stdin", (_, stream) => stream.credit(Channel.STDIN, 1), "bad_request"],
  [
    "credit of three bytes",
    (peer, stream) => peer.send(FrameType.CREDIT, stream.number, new Uint8Array(3), 1),
    "bad_request",
  ],
  [
    "a second OPEN",
    (peer, stream) => peer.send(FrameType.OPEN, stream.number, encodeCbor({ op: "ping" })),
    "bad_request",
  ],
  [
    "an unknown control",
    (peer, stream) => peer.send(FrameType.CONTROL, stream.number, encodeCbor({ op: "sing" })),
    "bad_request",
  ],
  ["a signal that isn't one", (_, stream) => stream.signal(65), "bad_request"],
  [
    "a CLOSE with a payload",
    (peer, stream) => peer.send(FrameType.CLOSE, stream.number, new Uint8Array(1)),
    "bad_request",
  ],
  [
    "flags on CLOSE",
    (peer, stream) => peer.send(FrameType.CLOSE, stream.number, undefined, END),
    "bad_request",
  ],
];

agentTest("ends a stream that breaks a rule, and no other", async ({ peer }) => {
  const other = await sleeper(peer);
  for (const [name, breach, kind] of breaches) {
    const stream = await sleeper(peer);
    breach(peer, stream);
    const outcome = await stream.outcome();
    assert.partialDeepStrictEqual(outcome.error, { kind }, name);
    assert.deepEqual(outcome.order.slice(-2), ["ERROR", "CLOSE"], name);
  }
  other.signal(9);
  assert.deepEqual((await other.outcome()).exit, {
    code: null,
    signal: "SIGKILL",
    timedOut: false,
  });
});

agentTest("refuses stdin that wasn't asked for", async ({ peer }) => {
  const stream = peer.exec(["sleep", "1000"]);
  stream.input("x");
  assert.partialDeepStrictEqual((await stream.outcome()).error, { kind: "bad_request" });
});

agentTest("refuses streams over the limit, and takes new ones afterwards", async ({ peer }) => {
  const held = Array.from({ length: 20 }, () => peer.exec(["sleep", "1000"]));
  for (const stream of held) assert.equal((await stream.next())?.type, FrameType.REPLY);
  const burst = Array.from({ length: MAX_STREAMS }, () => peer.open({ op: "ping" }));
  const outcomes = await Promise.all(burst.map((stream) => stream.outcome()));
  for (const outcome of outcomes) assert.equal(outcome.order.at(-1), "CLOSE");
  for (const stream of held) stream.close();
  for (const stream of held) assert.deepEqual((await stream.outcome()).order.at(-1), "CLOSE");
  assert.deepEqual((await peer.open({ op: "ping" }).outcome()).reply, {});
});
