import assert from "node:assert/strict";
import { guestMetrics, readMetrics } from "../../src/box/guest_metrics.ts";
import { encodeCbor } from "../../src/deps.ts";
import { Channel } from "../../src/guest/protocol.ts";
import type { DoubleStream } from "../doubles/agent.ts";
import { BoxDouble } from "../doubles/box.ts";
import { rejects } from "../support/rejects.ts";

const disk = { totalBytes: 9, freeBytes: 8, availableBytes: 7, files: 6, freeFiles: 5 };
const card = { receivedBytes: 1, receivedPackets: 2, sentBytes: 3, sentPackets: 4 };
const nothing = { cpu: null, load: null, memory: null, network: null, processes: null };

Deno.test("readMetrics takes the parts that are there", () => {
  assert.deepEqual(readMetrics(encodeCbor({})), { ...nothing, disk: null });
  const said = { disk, loadMilli: { minute: 1500, five: 0, fifteen: 20 }, network: { lo: card } };
  assert.deepEqual(readMetrics(encodeCbor(said)), {
    ...{ ...nothing, disk, load: [1.5, 0, 0.02], network: { lo: card } },
  });
});

const many = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`eth${i}`, card]));
const lies: readonly (readonly [unknown, RegExp])[] = [
  [[], /isn't a map/],
  [{ disk: 1 }, /isn't a map/],
  [{ disk: { ...disk, files: -1 } }, /files isn't/],
  [{ disk: { ...disk, files: "9" } }, /files isn't/],
  [{ processes: { count: 1.5, threads: 1 } }, /count isn't/],
  [{ network: many }, /too many/],
  [{ network: new Map([[1, card]]) }, /no name/],
];

Deno.test("readMetrics refuses what can't be", () => {
  for (const [said, problem] of lies) {
    assert.throws(() => readMetrics(encodeCbor(said)), {
      code: "agent_protocol",
      message: problem,
    });
  }
  assert.throws(() => readMetrics(new Uint8Array([0xff])), /aren't CBOR/);
});

Deno.test("guestMetrics takes no more than an answer has", async () => {
  let answer: (stream: DoubleStream) => Promise<void> = async (stream) => {
    while (!stream.ended) await stream.write(Channel.STDOUT, new Uint8Array(3000));
  };
  const open = async (stream: DoubleStream) => {
    stream.reply({ pid: 7 });
    await answer(stream);
  };
  await using box = await BoxDouble.start({ open });
  await rejects(guestMetrics(box.path), "agent_protocol", /too long/);
  answer = async (stream) => {
    await stream.write(Channel.STDOUT, encodeCbor({ disk }));
    for (const channel of [Channel.STDOUT, Channel.STDERR]) stream.end(channel);
    stream.exit(0);
    stream.close();
  };
  assert.deepEqual(await guestMetrics(box.path), { ...nothing, disk });
  assert.equal(box.relay.state.idleSinceMs, undefined); // it was no activity
});
