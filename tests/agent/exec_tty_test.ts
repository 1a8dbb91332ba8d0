import assert from "node:assert/strict";
import { Channel, CHANNEL_MASK, FrameType, WINDOW } from "../../src/guest/protocol.ts";
import { needs } from "../support/tools.ts";
import { NativeAgent } from "./native.ts";
import type { ExecFields, Outcome, Peer, PeerStream } from "./peer.ts";

const cc = needs("cc");

/** A test with an agent of its own, which gets its descriptors back. */
function agentTest(name: string, body: (peer: Peer) => Promise<void>): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using agent = await NativeAgent.start();
    await agent.peer.open({ op: "ping" }, 1000).outcome(); // it has opened all that it opens at start
    const before = [...Deno.readDirSync(`/proc/${agent.pid}/fd`)].length;
    await body(agent.peer);
    await agent.peer.open({ op: "ping" }, 1001).outcome();
    assert.equal([...Deno.readDirSync(`/proc/${agent.pid}/fd`)].length, before);
  });
}

function terminal(peer: Peer, script: string, fields: ExecFields = {}): PeerStream {
  return peer.exec(["sh", "-c", script], {
    stdin: true,
    ...fields,
    more: { tty: [24, 80], ...fields.more },
  });
}

/** Reads until the output has `text`, giving credit. */
async function reads(stream: PeerStream, text: string, times = 1): Promise<string> {
  let got = "";
  while (got.split(text).length <= times) {
    const frame = await stream.next();
    assert(frame && frame.type !== FrameType.EXIT, `${text} didn't come: ${JSON.stringify(got)}`);
    if (frame.type !== FrameType.DATA || frame.payload.length === 0) continue;
    assert.equal(frame.flags & CHANNEL_MASK, Channel.STDOUT);
    got += new TextDecoder().decode(frame.payload);
    stream.credit(Channel.STDOUT, frame.payload.length);
  }
  return got;
}

function over(outcome: Outcome, code: number): void {
  assert.deepEqual(outcome.exit, { code, signal: null, timedOut: false });
  assert.deepEqual(outcome.order.filter((word) => word !== "CREDIT").at(-1), "CLOSE");
}

agentTest("gives a command a terminal as all of its streams", async (peer) => {
  const outcome = await terminal(
    peer,
    'tty; test -t 0 && test -t 1 && test -t 2 && echo all; stty size; echo err >&2; echo "to tty" >/dev/tty',
  ).outcome();
  assert.match(outcome.stdout, /^\/dev\/pts\/\d+\r\nall\r\n24 80\r\nerr\r\nto tty\r\n$/);
  assert.equal(outcome.stderr, "");
  assert.deepEqual(outcome.order.slice(0, 2), ["REPLY", "END2"]);
  const kinds = [...new Set(outcome.order)]; // its words come in as many frames as they please
  assert.deepEqual(kinds.toSorted(), ["CLOSE", "DATA1", "END1", "END2", "EXIT", "REPLY"]);
  over(outcome, 0);
});

agentTest("tells a terminal's new size", async (peer) => {
  const stream = terminal(
    peer,
    "trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.05; done",
  );
  await reads(stream, "ready");
  stream.resize(50, 132);
  const outcome = await stream.outcome();
  assert.equal(outcome.stdout.trim(), "50 132");
  over(outcome, 3);
});

agentTest("lets a terminal's keys do what they do", async (peer) => {
  const stream = terminal(
    peer,
    "trap on=1 INT; echo ready; until [ $on ]; do sleep 0.05; done; echo on; cat; echo end",
  );
  await reads(stream, "ready");
  stream.input("\x03");
  await reads(stream, "on");
  stream.input("a line\n");
  await reads(stream, "a line\r\n", 2); // the echo, and cat's word
  stream.input("\x04");
  over(await stream.outcome(), 0);
});

agentTest("types the end of its input into a terminal that reads lines", async (peer) => {
  for (const text of ["whole\n", "part", ""]) {
    const stream = terminal(peer, "stty -echo; echo ready; cat");
    await reads(stream, "ready");
    stream.input(text, true);
    const outcome = await stream.outcome();
    assert.equal(outcome.stdout.trim(), text.trim());
    over(outcome, 0);
  }
  const raw = terminal(peer, "stty raw -echo; echo ready; dd bs=1 count=3 2>/dev/null");
  await reads(raw, "ready");
  raw.input("a\x04b", true);
  assert.equal((await raw.outcome()).stdout, "a\x04b");
});

agentTest("has jobs in a terminal, and hangs them up at its end", async (peer) => {
  const stream = terminal(peer, "set -m; sleep 600 & echo job=$!; jobs; fg", {
    env: ["PATH=/bin:/usr/bin", "TERM=dumb"],
  });
  const said = await reads(stream, "sleep 600\r\n", 2);
  const job = Number(/job=(\d+)/.exec(said)?.[1]);
  const keys = setInterval(() => stream.input("\x1a"), 50); // when it is in the foreground
  const outcome = await stream.outcome(); // its shell has nothing more to do
  clearInterval(keys);
  assert.equal(outcome.order.at(-1), "CLOSE");
  await gone(job);
});

agentTest("ends a terminal's stream though a process that it left holds it", async (peer) => {
  const stream = terminal(peer, "trap '' HUP; sleep 600 & echo pid=$!; exit 4");
  const first = await stream.outcome("EXIT");
  assert.deepEqual(first.exit, { code: 4, signal: null, timedOut: false });
  const left = Number(/pid=(\d+)/.exec(first.stdout)?.[1]);
  stream.close();
  assert.equal((await stream.outcome()).order.at(-1), "CLOSE");
  Deno.kill(left, "SIGKILL");
});

agentTest("waits for a terminal that nobody has open for a moment", async (peer) => {
  const stream = terminal(
    peer,
    "t=$(tty); exec </dev/null >/dev/null 2>&1; sleep 0.2; exec <$t >$t; echo again; read x; echo $x",
  );
  await reads(stream, "again");
  stream.input("typed\n");
  const outcome = await stream.outcome();
  assert.match(outcome.stdout, /typed\r\ntyped/);
  over(outcome, 0);
});

agentTest("sends all that a command prints on a terminal, and in its order", async (peer) => {
  const outcome = await terminal(peer, "stty -opost; seq 200000; printf last").outcome();
  const want = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\n`).join("") + "last";
  assert.equal(outcome.stdout, want);
  over(outcome, 0);
});

agentTest("never has more than the window of a terminal under way", async (peer) => {
  const stream = terminal(peer, "stty -opost; head -c 3000000 /dev/zero; echo end");
  for (let count = 0; count < WINDOW;) {
    const frame = await stream.next();
    if (frame?.type === FrameType.DATA) count += frame.payload.length;
    assert(count <= WINDOW);
  }
  assert.equal((await peer.open({ op: "ping" }, 2000).outcome()).order.at(-1), "CLOSE");
  assert.equal(stream.waiting, 0);
  stream.credit(Channel.STDOUT, WINDOW);
  const outcome = await stream.outcome();
  assert.equal(outcome.stdoutBytes + WINDOW, 3_000_004);
});

agentTest("queues what is typed and not read, up to the window", async (peer) => {
  const stream = terminal(peer, "stty raw -echo; echo ready; read line; head -c 1000000 | wc -c");
  await reads(stream, "ready");
  stream.input("go\n");
  for (let sent = 0; sent < 1000; sent++) stream.input(new Uint8Array(1000).fill(65));
  const outcome = await stream.outcome();
  assert.equal(outcome.stdout.trim(), "1000000");
  assert(outcome.credited >= WINDOW / 2);
});

agentTest("kills what runs on a terminal when the host closes", async (peer) => {
  const stream = terminal(peer, "trap '' HUP; sleep 600 & echo pid=$!; wait");
  const pid = Number(/pid=(\d+)\r/.exec(await reads(stream, "\n"))?.[1]);
  stream.close();
  assert.equal((await stream.outcome()).order.at(-1), "CLOSE");
  await gone(pid);
});

agentTest("gives the terminal to the command's user", async (peer) => {
  if (Deno.uid() !== 0) return; // only root can become somebody
  const fields = { user: "54321:12345" };
  const outcome = await terminal(peer, "stat -c %u:%a $(tty); echo ok >$(tty)", fields).outcome();
  assert.match(outcome.stdout, /^54321:6\d0\r\nok\r\n$/);
});

agentTest("refuses sizes that none has, and those for no terminal", async (peer) => {
  const sizes = [[0, 80], [24, 0], [65_536, 80], [24], [24, 80, 1], "24x80", [24, -1]];
  for (const tty of sizes) {
    const outcome = await terminal(peer, "true", { more: { tty } }).outcome();
    assert.partialDeepStrictEqual(outcome.error, { kind: "bad_request" });
  }
  const plain = peer.exec(["sleep", "600"]);
  await plain.outcome("REPLY");
  plain.resize(24, 80);
  assert.partialDeepStrictEqual((await plain.outcome()).error, { kind: "bad_request" });
  const bad = terminal(peer, "sleep 600");
  await bad.outcome("REPLY");
  bad.resize(24, 70_000);
  assert.partialDeepStrictEqual((await bad.outcome()).error, { kind: "bad_request" });
});

/** Waits until a process is no more. */
async function gone(pid: number): Promise<void> {
  assert(pid > 0);
  for (let tries = 0; tries < 500; tries++) {
    try {
      if (/^\d+ \(.*\) Z/.test(Deno.readTextFileSync(`/proc/${pid}/stat`))) return;
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`process ${pid} still runs`);
}
