/** A box's files where the guest lies: each lie costs its own request, nothing else. */
import assert from "node:assert/strict";
import { BoxFiles } from "../../src/box/files.ts";
import { encodeCbor } from "../../src/deps.ts";
import { HutchError } from "../../src/errors.ts";
import { FrameCutter, type GuestFrame } from "../../src/box/files/wire.ts";
import { Channel } from "../../src/guest/protocol.ts";
import { type DoubleStream, runProgram } from "../doubles/agent.ts";
import { BoxDouble } from "../doubles/box.ts";
import { rejects } from "../support/rejects.ts";

/** What the guest's program answers to a request: frames, or bytes that are none. */
type Answer = (request: GuestFrame, stream: DoubleStream) => Uint8Array[] | Promise<Uint8Array[]>;

/** A frame with any lengths. */
function raw(head: Uint8Array, data = new Uint8Array(0), lengths = [head.length, data.length]) {
  const frame = new Uint8Array(8 + head.length + data.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, lengths[0] ?? 0);
  view.setUint32(4, lengths[1] ?? 0);
  frame.set(head, 8);
  frame.set(data, 8 + head.length);
  return frame;
}

const frame = (head: Record<string, unknown>, data?: Uint8Array<ArrayBuffer>) =>
  raw(encodeCbor(head), data);
const text = (words: string) => new TextEncoder().encode(words);

/** A folder's entry as the agent has it. */
function entry(name: string, length = name.length): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(3 + name.length);
  bytes.set([0x66, length >> 8, length & 255]);
  bytes.set(text(name), 3);
  return bytes;
}

async function serve(stream: DoubleStream, answer: Answer): Promise<void> {
  if (stream.fields.get("builtin") === undefined) return await runProgram(stream);
  stream.reply({ pid: 7 });
  const cutter = new FrameCutter();
  for (let part = await stream.read(); part; part = await stream.read()) {
    for (const request of cutter.cut(part)) {
      for (const bytes of await answer(request, stream)) await stream.write(Channel.STDOUT, bytes);
    }
  }
}

async function withFiles(
  answer: Answer,
  run: (fs: BoxFiles, box: BoxDouble) => Promise<void>,
): Promise<void> {
  await using box = await BoxDouble.start({ open: (stream) => serve(stream, answer) });
  await using client = await box.connect();
  const host = { name: () => "web", cwd: () => "/", guest: () => Promise.resolve(client) };
  await run(new BoxFiles(host, ""), box);
  assert.deepEqual(await client.request({ op: "ping" }), {}); // the box is as good as before
  assert.deepEqual(box.agent.violations, []);
}

const id = (request: GuestFrame) => request.number("id");
const stat = { mode: 0o100644, size: 1, dev: 1, rdev: 0, ino: 2, nlink: 1, uid: 0, gid: 0 };
const times = { blksize: 1, blocks: 1, atime: 0, mtime: 0, ctime: 0 };

const lies: readonly (readonly [string, Answer, RegExp])[] = [
  ["a head of no bytes", () => [raw(new Uint8Array(0), undefined, [0, 0])], /head has 0/],
  ["a head of 5000 bytes", () => [raw(new Uint8Array(5000))], /head has 5000/],
  ["data of 4 GiB", () => [raw(text("x"), undefined, [1, 0xffffffff])], /4294967295 bytes of data/],
  ["no CBOR", () => [raw(text("\xff"))], /isn't CBOR/],
  ["no map", () => [raw(encodeCbor([1]))], /isn't a map/],
  ["no id", () => [frame({})], /id isn't a whole number/],
  ["another's id", (request) => [frame({ id: id(request) + 1 })], /which there isn't/],
  ["an errno of 0", (request) => [frame({ id: id(request), errno: 0 })], /errno isn't/],
  ["an errno of text", (request) => [frame({ id: id(request), errno: "x" })], /errno isn't/],
  ["nothing of a file", (request) => [frame({ id: id(request) })], /mode isn't/],
  ["a mode of 1.5", (request) => [frame({ id: id(request), ...stat, mode: 1.5 })], /mode isn't/],
  ["a size below 0", (request) => [frame({ id: id(request), ...stat, size: -1 })], /size isn't/],
  ["a time that is none", (request) => [
    frame({ id: id(request), ...stat, ...times, mtime: 9e15 }),
  ], /mtime isn't/],
];

Deno.test("BoxFiles.stat refuses what no file can be", async () => {
  for (const [name, answer, problem] of lies) {
    await withFiles(answer, async (fs) => {
      await rejects(fs.stat("/x"), "agent_protocol", problem).catch((error: unknown) => {
        throw new Error(name, { cause: error });
      });
    });
  }
  await withFiles((request) => [frame({ id: id(request), ...stat, ...times })], async (fs) => {
    const { size, birthtime, isFile } = await fs.stat("/x");
    assert.deepEqual([size, birthtime, isFile], [1, null, true]);
  });
});

const folders: readonly (readonly [string, Uint8Array<ArrayBuffer>])[] = [
  ["/", entry("a/b")],
  ["a NUL character", entry("a\0")],
  ["..", entry("..")],
  [".", entry(".")],
  ["no name", entry("")],
  ["a name of 1025 bytes", entry("n".repeat(1025))],
  ["a cut name", entry("name", 5)],
  ["a cut entry", text("f\0")],
];

Deno.test("BoxFiles.readDir refuses names that lead elsewhere", async () => {
  for (const [name, data] of folders) {
    await withFiles((request) => [frame({ id: id(request) }, data)], async (fs) => {
      const reading = Array.fromAsync(fs.readDir("/x"));
      await rejects(reading, "agent_protocol", /name|cut/).catch((error: unknown) => {
        throw new Error(name, { cause: error });
      });
    });
  }
});

const opened = { handle: 3, size: 0, seekable: false };

Deno.test("BoxFiles.readDir takes an endless folder as far as it is wanted", async () => {
  const ops: string[] = [];
  await withFiles((request) => {
    ops.push(request.text("op"));
    return [frame({ id: id(request), ...opened, more: true }, entry(`n${ops.length}`))];
  }, async (fs) => {
    let count = 0;
    for await (const { name } of fs.readDir("/x")) {
      assert.equal(name, `n${++count}`);
      if (count === 500) break;
    }
    assert.deepEqual(
      await fs.readDir("/y")[Symbol.asyncIterator]().next().then(({ done }) => done),
      false,
    );
  });
  assert.deepEqual(ops.slice(498), ["list", "list", "close", "list"]);
  await withFiles((request) => [frame({ id: id(request), ...opened, more: true })], async (fs) => {
    await rejects(Array.fromAsync(fs.readDir("/x")), "agent_protocol", /gives nothing/);
  });
});

Deno.test("BoxFiles.readFile holds no more than it may", async () => {
  const piece = new Uint8Array(256 * 1024);
  await withFiles((request) => [frame({ id: id(request), ...opened }, piece)], async (fs) => {
    await rejects(fs.readFile("/x", { maxBytes: 2 ** 20 }), "limit_exceeded", /more than 1048576/);
  });
});

Deno.test("BoxFile refuses more bytes than were asked for or sent", async () => {
  await withFiles((request) => {
    const { op, ...head } = { op: request.text("op"), id: id(request) };
    if (op === "open") return [frame({ ...head, ...opened })];
    return [op === "read" ? frame(head, new Uint8Array(11)) : frame({ ...head, written: 4 })];
  }, async (fs) => {
    await using file = await fs.open("/x", { read: true, write: true });
    await rejects(file.read(new Uint8Array(10)), "agent_protocol", /reads 11 bytes for 10/);
    await rejects(file.write(new Uint8Array(3)), "agent_protocol", /written isn't.* 1 to 3/);
  });
});

Deno.test("BoxFiles says why the program for them ended, and starts another", async () => {
  let starts = 0;
  await withFiles(async (request, stream) => {
    if (starts++ > 0) return [frame({ id: id(request), ...stat, ...times })];
    await stream.write(Channel.STDERR, text(`\x1b[2Jno memory${"\0".repeat(300_000)}`));
    for (const channel of [Channel.STDOUT, Channel.STDERR]) stream.end(channel);
    stream.exit(2);
    stream.close();
    return [];
  }, async (fs) => {
    await rejects(fs.stat("/x"), "guest_failed", /^[ -~]*ended with code 2 \(\[2Jno memory\)$/);
    assert.equal((await fs.stat("/x")).size, 1);
  });
});

Deno.test("BoxFiles ends a program that floods it", async () => {
  let sent = 0;
  await withFiles(async (request, stream) => {
    const bytes = frame({ id: id(request) + 1 }, new Uint8Array(200_000));
    while (!stream.ended) {
      await stream.write(Channel.STDOUT, bytes);
      sent += bytes.length;
    }
    return [];
  }, async (fs) => {
    await rejects(fs.stat("/x"), "agent_protocol", /which there isn't/);
  });
  assert.ok(sent < 5 * 2 ** 20, `${sent} bytes were taken`);
});

Deno.test("BoxFiles.open that is given up closes what comes of it", async () => {
  const closed = Promise.withResolvers<void>();
  const giveUp = new AbortController();
  await withFiles((request) => {
    if (request.text("op") === "close") closed.resolve();
    else giveUp.abort(new TypeError("enough"));
    return [frame({ id: id(request), ...opened })];
  }, async (fs) => {
    await assert.rejects(fs.open("/x", { signal: giveUp.signal }), new TypeError("enough"));
    await closed.promise;
    await assert.rejects(fs.open("/x", { signal: giveUp.signal }), new TypeError("enough"));
  });
});

const path = (words: string, length = words.length) => {
  const bytes = new Uint8Array(2 + words.length);
  bytes.set([length >> 8, length & 255]);
  bytes.set(text(words), 2);
  return bytes;
};

const events: readonly (readonly [string, Uint8Array])[] = [
  ["no kind", frame({})],
  ["another kind", frame({ kind: "any" })],
  ["a relative path", frame({ kind: "create" }, path("x"))],
  ["a cut path", frame({ kind: "create" }, path("/x", 9))],
  [
    "three paths",
    frame({ kind: "rename" }, new Uint8Array([...path("/a"), ...path("/b"), ...path("/c")])),
  ],
  ["4 GiB", raw(text("x"), undefined, [0xffffffff, 0])],
];

Deno.test("BoxFiles.watch refuses events that can't be", async () => {
  for (const [name, event] of events) {
    const open = async (stream: DoubleStream) => {
      if (stream.fields.get("builtin") !== "watch") return await runProgram(stream);
      assert.deepEqual(stream.argv, ["watch", "all", "47,120"]); // the path as bytes
      stream.reply({ pid: 7 });
      await stream.write(Channel.STDOUT, frame({}));
      await stream.write(Channel.STDOUT, event);
    };
    await using box = await BoxDouble.start({ open });
    await using client = await box.connect();
    const host = { name: () => "web", cwd: () => "/", guest: () => Promise.resolve(client) };
    await using watcher = new BoxFiles(host, "").watch("/x");
    await watcher.ready;
    await rejects(Array.fromAsync(watcher), "agent_protocol", /./).catch((error: unknown) => {
      throw new Error(name, { cause: error });
    });
    assert.deepEqual(await client.request({ op: "ping" }), {});
  }
});

Deno.test("BoxFiles is activity of its box while something is under way, and no longer", async () => {
  const answered = Promise.withResolvers<void>();
  await withFiles(async (request) => {
    if (request.text("op") === "stat") await answered.promise;
    return [frame({ id: id(request), ...stat, ...times, ...opened })];
  }, async (fs, box) => {
    const idle = async () => {
      while (box.relay.state.idleSinceMs === undefined) {
        await new Promise((go) => setTimeout(go, 10));
      }
    };
    const pending = fs.stat("/x");
    while (box.relay.state.streams === 0) await new Promise((go) => setTimeout(go, 5));
    assert.equal(box.relay.state.idleSinceMs, undefined);
    answered.resolve();
    await pending;
    await idle(); // its program goes by itself
    assert.equal(box.relay.state.streams, 0);
    const file = await fs.open("/x");
    await fs.stat("/x");
    await new Promise((go) => setTimeout(go, 700)); // longer than a program stays for nothing
    assert.equal(box.relay.state.idleSinceMs, undefined);
    await file.close();
    await idle();
  });
});

Deno.test("BoxFiles tells what is pending why the box is gone", async () => {
  await using box = await BoxDouble.start({ open: (stream) => serve(stream, () => []) });
  await using client = await box.connect({ lostReason: () => "it ran out of memory" });
  const host = { name: () => "web", cwd: () => "/", guest: () => Promise.resolve(client) };
  const fs = new BoxFiles(host, "");
  const pending = fs.stat("/x");
  while (box.agent.streams.size === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  await box.agent[Symbol.asyncDispose]();
  const error = await pending.catch((error: unknown) => error);
  assert.ok(error instanceof HutchError && error.code === "connection_lost", String(error));
});
