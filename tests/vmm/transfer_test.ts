import assert from "node:assert/strict";
import { makeCredit, makeFrame } from "../../src/guest/codec.ts";
import {
  Channel,
  END,
  FrameType,
  HEADER_SIZE,
  MAX_PAYLOAD,
  WIDE,
  WIDE_WINDOW,
} from "../../src/guest/protocol.ts";
import { encodeMessage } from "../../src/guest/encode.ts";
import { BoxDouble, exec } from "../doubles/box.ts";
import { BLOCK, BYTES, makeTaken, PLACED, SECTOR } from "../doubles/transfer_disk.ts";

const HELLO = new Uint8Array([0xa0]);

interface Came {
  readonly type: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** Where it was on the disk; undefined where it came by the channel. */
  readonly at: number | undefined;
}

/** A guest's agent that reads frame by frame, and has a transfer disk. */
class DiskAgent implements Disposable {
  readonly #conn: Deno.Conn;
  readonly #disk: Deno.FsFile;

  private constructor(conn: Deno.Conn, disk: Deno.FsFile) {
    this.#conn = conn;
    this.#disk = disk;
  }

  static async connect(box: BoxDouble, { takes = true } = {}): Promise<DiskAgent> {
    const disk = await Deno.open(box.relay.transferPath ?? "");
    const conn = await Deno.connect({ transport: "unix", path: box.channelPath });
    const agent = new DiskAgent(conn, disk);
    await agent.send(makeFrame(FrameType.HELLO, 0, HELLO));
    if (takes) await agent.taken(0);
    return agent;
  }

  async send(...frames: readonly Uint8Array[]): Promise<void> {
    for (const frame of frames) {
      for (let at = 0; at < frame.length;) at += await this.#conn.write(frame.subarray(at));
    }
  }

  taken(count: number): Promise<void> {
    return this.send(makeTaken(count));
  }

  async next(): Promise<Came> {
    const header = new DataView((await readAll(this.#conn, HEADER_SIZE)).buffer);
    const [type, flags] = [header.getUint8(8), header.getUint8(9)];
    const payload = await readAll(this.#conn, header.getUint32(0));
    if ((flags & PLACED) === 0) return { type, flags, payload, at: undefined };
    assert.equal(payload.length, 12);
    const place = new DataView(payload.buffer);
    const [at, length, mark] = [place.getUint32(0), place.getUint32(4), place.getUint32(8)];
    const behind = Math.ceil(length / SECTOR) * SECTOR;
    assert.ok(at % BLOCK === 0 && at + behind + SECTOR <= BYTES, `${length} bytes at ${at}`);
    await this.#disk.seek(at, Deno.SeekMode.Start);
    const bytes = await readAll(this.#disk, behind + 4);
    assert.notEqual(mark, 0);
    assert.equal(new DataView(bytes.buffer).getUint32(behind), mark);
    return { type, flags: flags & ~PLACED, payload: bytes.subarray(0, length), at };
  }

  /** Memory that the disk takes, in bytes. */
  async used(): Promise<number> {
    return ((await this.#disk.stat()).blocks ?? NaN) * 512;
  }

  [Symbol.dispose](): void {
    this.#conn.close();
    this.#disk.close();
  }
}

/** A client whose wide stream 1 is open. */
async function wideClient(box: BoxDouble, agent: DiskAgent): Promise<Deno.Conn> {
  const client = await Deno.connect({ transport: "unix", path: box.path });
  await readAll(client, HEADER_SIZE + HELLO.length); // before it, nothing may be sent
  await sendAll(client, makeFrame(FrameType.OPEN, 1, encodeMessage(exec("cat"), "run"), WIDE));
  assert.equal((await agent.next()).type, FrameType.OPEN);
  await agent.send(makeFrame(FrameType.REPLY, 1, new Uint8Array([0xa0])));
  return client;
}

async function readAll(
  from: Deno.Conn | Deno.FsFile,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const read = await from.read(bytes.subarray(at));
    assert.ok(read, "there is no more");
    at += read;
  }
  return bytes;
}

async function sendAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

function data(length: number, fill: number, flags = 0): Uint8Array<ArrayBuffer> {
  return makeFrame(FrameType.DATA, 1, new Uint8Array(length).fill(fill), Channel.STDIN | flags);
}

function diskTest(name: string, body: (box: BoxDouble) => Promise<void>): void {
  Deno.test(`Relay ${name}`, { ignore: Deno.build.os !== "linux" }, async () => {
    await using box = await BoxDouble.make();
    await body(box);
  });
}

diskTest("puts much on the transfer disk, and little, and words, into the channel", async (box) => {
  using agent = await DiskAgent.connect(box);
  using client = await wideClient(box, agent);
  const control = makeFrame(FrameType.CONTROL, 1, new Uint8Array([0xa0]));
  for (const each of [data(100_000, 1), data(10, 2), control, data(MAX_PAYLOAD, 3, END)]) {
    await sendAll(client, each);
  }
  const came = [await agent.next(), await agent.next(), await agent.next(), await agent.next()];
  assert.deepEqual(came.map(({ at }) => at), [0, undefined, undefined, 102_400]);
  assert.deepEqual(came.map(({ flags }) => flags), [0, 0, 0, END]);
  assert.deepEqual(came.map(({ payload }) => payload.length), [100_000, 10, 1, MAX_PAYLOAD]);
  for (const [index, fill] of [[0, 1], [1, 2], [3, 3]] as const) {
    assert.ok(came[index]?.payload.every((byte) => byte === fill), `frame ${index}`);
  }
});

diskTest("leaves the transfer disk alone until the agent says that it reads it", async (box) => {
  using agent = await DiskAgent.connect(box, { takes: false });
  using client = await wideClient(box, agent);
  await sendAll(client, data(MAX_PAYLOAD, 1));
  assert.equal((await agent.next()).at, undefined);
  await agent.taken(0);
  await sendAll(client, data(MAX_PAYLOAD, 2));
  // What was on its way first may have been judged before.
  await agent.send(makeCredit(1, Channel.STDIN, MAX_PAYLOAD));
  await agent.next();
  await sendAll(client, data(MAX_PAYLOAD, 3));
  assert.equal(typeof (await agent.next()).at, "number");
});

diskTest("overwrites nothing that the agent hasn't read, in any order of sizes", async (box) => {
  using agent = await DiskAgent.connect(box);
  using client = await wideClient(box, agent);
  let seed = 7;
  const chance = (below: number) => (seed = (seed * 48271) % 0x7fffffff) % below;
  const places: [number, number][] = []; // that the agent has, and hasn't told of
  let [onDisk, full, wraps, last] = [0, 0, 0, 0];
  for (let turn = 0; turn < 1000; turn++) {
    const length = 1 + chance(chance(3) === 0 ? 60_000 : MAX_PAYLOAD);
    await sendAll(client, data(length, turn % 251));
    const { at, payload } = await agent.next();
    assert.equal(payload.length, length);
    assert.ok(payload.every((byte) => byte === turn % 251), `turn ${turn}`);
    if (at === undefined) full += length > 100_000 ? 1 : 0;
    else {
      for (const [from, to] of places) {
        assert.ok(at + length <= from || at >= to, `${at} lies in ${from} to ${to}`);
      }
      onDisk++;
      if (at < last) wraps++;
      last = at;
      places.push([at, at + length]);
    }
    await agent.send(makeCredit(1, Channel.STDIN, length));
    if (places.length > 0 && chance(25) === 0) {
      const count = 1 + chance(places.length);
      places.splice(0, count);
      await agent.taken(count);
    }
  }
  assert.ok(onDisk > 150 && full > 20 && wraps > 3, `${onDisk} ${full} ${wraps}`);
});

diskTest("forgets what was on the transfer disk once nothing is open", async (box) => {
  using agent = await DiskAgent.connect(box);
  using client = await wideClient(box, agent);
  await sendAll(client, data(MAX_PAYLOAD, 1));
  await agent.next();
  assert.ok(await agent.used() >= MAX_PAYLOAD);
  await agent.taken(1);
  await agent.send(makeFrame(FrameType.CLOSE, 1, new Uint8Array()));
  while (await agent.used() > 0) await new Promise((resolve) => setTimeout(resolve, 1));
});

diskTest("ends a guest that says it has read what nobody gave", async (box) => {
  using agent = await DiskAgent.connect(box);
  using client = await wideClient(box, agent);
  await sendAll(client, data(WIDE_WINDOW / 16, 1));
  await agent.next();
  await agent.taken(2);
  assert.deepEqual(await box.relay.ended, {
    why: "agent_protocol",
    message: "TAKEN of 2 pieces came, which nobody gave",
  });
});

diskTest("sends a client away that says its bytes are on the transfer disk", async (box) => {
  using agent = await DiskAgent.connect(box);
  using client = await wideClient(box, agent);
  await sendAll(client, makeFrame(FrameType.DATA, 1, new Uint8Array(12), PLACED));
  assert.equal((await agent.next()).type, FrameType.CLOSE);
  using _other = await Deno.connect({ transport: "unix", path: box.path }); // others are served
});
