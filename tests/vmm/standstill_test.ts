import assert from "node:assert/strict";
import { emptyHeader, readHeader } from "../../src/guest/codec.ts";
import { FrameType } from "../../src/guest/protocol.ts";
import { SendQueue } from "../../src/guest/send_queue.ts";
import { Standstill } from "../../src/vmm/standstill.ts";
import { until } from "../support/processes.ts";

const NAMES = new Map<number, string>(
  Object.entries(FrameType).map(([name, type]) => [type, name]),
);

/** A machine that stands still for somebody, and all that happens, in its order. */
function standStill(pause: () => Promise<void>): { still: Standstill; happened: string[] } {
  const happened: string[] = [];
  const sink = {
    write(bytes: Uint8Array) {
      const header = emptyHeader();
      for (let at = 0; at < bytes.length; at += 10 + header.length) {
        readHeader(new DataView(bytes.buffer, bytes.byteOffset), at, header);
        happened.push(NAMES.get(header.type) ?? String(header.type));
      }
      return Promise.resolve(bytes.length);
    },
  };
  const still = new Standstill({
    async pause() {
      await pause();
      happened.push("paused");
    },
    resume() {
      happened.push("resumed");
      return Promise.resolve();
    },
  }, {
    out: new SendQueue(sink, (error) => assert.fail(String(error))),
    number: 1,
    over: () => happened.push("over"),
  });
  return { still, happened };
}

async function untilClosed(happened: readonly string[]): Promise<void> {
  await until(
    () => Promise.resolve(happened.includes("CLOSE")),
    () => Promise.resolve(`${happened}`),
  );
}

Deno.test("Standstill lets its machine go on when its client is gone, once", async () => {
  const { still, happened } = standStill(() => Promise.resolve());
  still.gone();
  still.gone();
  await untilClosed(happened);
  assert.deepEqual(happened.filter((word) => word !== "REPLY"), [
    "paused",
    "resumed",
    "over",
    "CLOSE",
  ]);
});

Deno.test("Standstill lets a machine go on that couldn't be paused in time: it may have been all the same", async () => {
  const { still, happened } = standStill(() => Promise.reject(new Error("too late")));
  await untilClosed(happened);
  still.gone(); // which changes nothing
  assert.deepEqual(happened.toSorted(), ["CLOSE", "ERROR", "over", "resumed"]);
});
