import assert from "node:assert/strict";
import { join } from "node:path";
import { copyFlags, HostCopy } from "../../ffi/helper.ts";
import { decodeCbor } from "../../src/deps.ts";
import { FrameType } from "../../src/guest/protocol.ts";
import "../support/native.ts";
import { latin1, writeTar } from "../support/tar.ts";
import { TempFolder } from "../support/temp.ts";
import { isRunning, until } from "../support/processes.ts";
import { needs } from "../support/tools.ts";
import { pictureOf } from "../support/tree_picture.ts";
import { NativeAgent } from "./native.ts";
import type { Outcome, Peer } from "./peer.ts";
const cc = needs("cc");

function agentTest(
  name: string,
  body: (peer: Peer, folder: string, agent: NativeAgent) => Promise<void>,
): void {
  Deno.test(`the agent ${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using folder = new TempFolder();
    await using agent = await NativeAgent.start();
    await body(agent.peer, folder.path, agent);
  });
}

const WHOLE = copyFlags({ overwrite: true, parents: true, modes: true, times: true });

/** More than two direct pieces, and no whole number of blocks. */
const LARGE = Array.from({ length: 250_000 }, (_, n) => `${n}`.padStart(10)).join("");

/** Runs `unpack` on a tar that is no larger than a stream's window. */
function unpack(peer: Peer, to: string, tar: Uint8Array, flags = WHOLE): Promise<Outcome> {
  const argv = ["unpack", `${flags}`, to, "name"];
  const stream = peer.exec(argv, { stdin: true, env: [], wide: true, more: { builtin: "unpack" } });
  for (let at = 0; at < tar.length; at += 60_000) stream.input(tar.subarray(at, at + 60_000));
  stream.input("", true);
  return stream.outcome();
}

function pack(peer: Peer, from: string, flags = 0): Promise<Outcome> {
  const argv = ["pack", `${flags}`, from, "."];
  return peer.exec(argv, { env: [], wide: true, more: { builtin: "pack" } }).outcome();
}

agentTest(
  "unpacks and packs a tree, large files past the page cache",
  async (peer, folder) => {
    const tar = writeTar(
      { path: ".", type: "5", mode: 0o755, mtime: 5 },
      { path: "./large", data: LARGE, mode: 0o644, pax: { mtime: "7.123456789" } },
      { path: "./d", type: "5", mode: 0o500, mtime: 9 },
      { path: "./d/\xff\n", data: "odd", mode: 0o600 },
      { path: "./hard", type: "1", link: "./large" },
      { path: "./link", type: "2", link: "nowhere" },
    );
    const [first, second] = [join(folder, "1"), join(folder, "2")];
    const outcome = await unpack(peer, first, tar);
    assert.deepEqual([outcome.stderr, outcome.exit], [
      "S 6 2500003 0\n",
      { code: 0, signal: null, timedOut: false },
    ]);
    const packed = await pack(peer, first);
    assert.equal(packed.stderr, "S 6 2500003 0\n");
    using copy = HostCopy.unpack(second, "", {
      flags: { modes: true, times: true, guarded: true },
    });
    await copy.push(packed.raw);
    await copy.finish();
    assert.equal(await pictureOf(second), await pictureOf(first));
  },
);

agentTest(
  "says in one line why it can't unpack or pack, and takes half a file away",
  async (peer, folder) => {
    const to = join(folder, "to");
    const tar = writeTar({ path: ".", type: "5", mode: 0o755 }, {
      path: "./\xff\\",
      data: "x".repeat(200_000),
    });
    const cut = await unpack(peer, to, tar.subarray(0, 150_000));
    assert.match(cut.stderr, /^E 74 the stream ended in the middle\t\\xff\\x5c\n$/);
    assert.deepEqual(cut.exit, { code: 1, signal: null, timedOut: false });
    assert.deepEqual([...Deno.readDirSync(to)], []);
    const junk = await unpack(peer, to, latin1("no tar at all".repeat(100)));
    assert.match(junk.stderr, /^E 74 it is no tar archive, or a damaged or compressed one\t\n$/);
    await Deno.symlink("/etc", join(to, "etc"));
    const link = await unpack(
      peer,
      to,
      writeTar({ path: ".", type: "5" }, { path: "./etc/x", data: "1" }),
    );
    assert.match(link.stderr, /^E 20 something else is where a folder has to be\tetc\/x\n$/);
    const none = await pack(peer, join(folder, "none"));
    assert.match(none.stderr, /^E 2 find it\t\.\n$/);
    assert.equal(none.stdoutBytes, 0);
  },
);

/** Begins to unpack a folder with one file, of which only a part is said yet. */
function beginHalf(peer: Peer, to: string) {
  const tar = writeTar({ path: ".", type: "5", mode: 0o755 }, {
    path: "./file",
    data: "x".repeat(200_000),
  });
  const argv = ["unpack", `${WHOLE}`, to, "name"];
  const stream = peer.exec(argv, { stdin: true, env: [], wide: true, more: { builtin: "unpack" } });
  const size = () => Deno.stat(join(to, "file")).then(({ size }) => size, () => 0);
  return {
    stream,
    say: (from: number, end: number) => stream.input(tar.subarray(from, end)),
    begun: () => until(async () => await size() > 0, () => Promise.resolve("nothing is unpacked")),
  };
}

agentTest("takes half a file away when nobody wants the copy any more", async (peer, folder) => {
  const to = join(folder, "to");
  const { stream, say, begun } = beginHalf(peer, to);
  for (let at = 0; at < 150_000; at += 50_000) say(at, at + 50_000);
  await begun();
  stream.close();
  await stream.outcome();
  assert.deepEqual([...Deno.readDirSync(to)], []);
});

agentTest(
  "takes half a file away also when it finds nobody to tell how far it is",
  async (peer, folder) => {
    const to = join(folder, "to");
    const { stream, say, begun } = beginHalf(peer, to);
    const first = await stream.next();
    assert(first?.type === FrameType.REPLY);
    const { pid } = decodeCbor<{ pid: number }>(first.payload);
    say(0, 60_000);
    await begun();
    // It stands still until it has got more, and the ends of its pipes are closed.
    Deno.kill(pid, "SIGSTOP");
    say(60_000, 120_000);
    stream.close();
    const later = await peer.exec(["none"], { more: { builtin: "none" } }).outcome();
    assert.deepEqual(later.order, ["ERROR", "CLOSE"]);
    Deno.kill(pid, "SIGCONT");
    await stream.outcome();
    assert.deepEqual([...Deno.readDirSync(to)], []);
  },
);

/** Has a process stand still, from now on. */
async function stop(pid: number): Promise<void> {
  Deno.kill(pid, "SIGSTOP");
  const state = () => Deno.readTextFile(`/proc/${pid}/status`);
  await until(async () => /^State:\s+T/m.test(await state()), state);
}

agentTest(
  "outlives a copy's program that is killed and has said that it read all",
  async (peer, folder, agent) => {
    const argv = ["unpack", `${WHOLE}`, join(folder, "to"), "name"];
    const more = { builtin: "unpack" };
    const stream = peer.exec(argv, { stdin: true, env: [], wide: true, more });
    const first = await stream.next();
    assert(first?.type === FrameType.REPLY);
    const { pid } = decodeCbor<{ pid: number }>(first.payload);
    await stop(pid);
    // More than the agent gives credit for at once, and all of it has come.
    for (let piece = 0; piece < 50; piece++) stream.input(new Uint8Array(60_000));
    await peer.open({ op: "ping" }).outcome();
    // The agent is to find its words, the ends of its outputs, and its own end at the same time.
    await stop(agent.pid);
    using _reads = Deno.openSync(`/proc/${pid}/fd/0`);
    const says = Deno.openSync(`/proc/${pid}/fd/1`, { write: true });
    says.writeSync(new Uint8Array([0xff, 0xff, 0xff, 0x7f]));
    says.close();
    Deno.kill(pid, "SIGKILL");
    await until(() => Promise.resolve(!isRunning(pid)), () => Promise.resolve("it isn't killed"));
    Deno.kill(agent.pid, "SIGCONT");
    const { exit, order } = await stream.outcome();
    assert.deepEqual(exit, { code: null, signal: "SIGKILL", timedOut: false });
    assert.equal(order.at(-1), "CLOSE");
    assert.deepEqual((await peer.open({ op: "ping" }).outcome()).order, ["REPLY", "CLOSE"]);
  },
);

agentTest("wants copies to be wide, and nothing else", async (peer) => {
  for (const [builtin, wide] of [["pack", false], ["unpack", false], ["metrics", true]] as const) {
    const argv = [builtin, "0", "/", "."];
    const { error } = await peer.exec(argv, { wide, more: { builtin } }).outcome();
    assert.partialDeepStrictEqual(error, { kind: "bad_request" }, builtin);
  }
});
