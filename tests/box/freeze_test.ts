import assert from "node:assert/strict";
import { freezeGuest } from "../../src/box/freeze.ts";
import type { DoubleStream } from "../doubles/agent.ts";
import { withClient } from "../guest/with_client.ts";
import { Channel } from "../../src/guest/protocol.ts";

/** How long an agent may take to freeze and to say so, in `ms`. */
const LIMIT_MS = 6_000;

/** An agent whose program `freeze` says a byte, waits for its end, and then gives an exit code. */
function says(word: number | undefined, code = 0): (stream: DoubleStream) => Promise<void> {
  return async (stream) => {
    assert.deepEqual(stream.argv, ["freeze", "5000", "60000"]);
    stream.reply({ pid: 1 });
    if (word !== undefined) await stream.write(Channel.STDOUT, Uint8Array.of(word));
    if (word === 0) { while (await stream.read()) { /* until its end */ } }
    stream.end(Channel.STDOUT);
    stream.end(Channel.STDERR);
    stream.exit(code, null);
    stream.close();
  };
}

const problems: readonly (readonly [number | undefined, RegExp])[] = [
  [1, /isn't allowed to/],
  [5, /^error 5$/],
  [16, /frozen already/],
  [30, /read-only/],
  [95, /can't be frozen/],
  [110, /took longer than 5000 ms/],
  [undefined, /said nothing/],
];
for (const [word, words] of problems) {
  Deno.test(`freezeGuest says why file systems don't stand still: ${word ?? "silence"}`, () =>
    withClient({ open: says(word, 1) }, async (client) => {
      const frozen = await freezeGuest(client);
      assert.ok(typeof frozen === "string");
      assert.match(frozen, words);
    }));
}

Deno.test("freezeGuest lets file systems go on, and says when they did so before", async () => {
  await withClient({ open: says(0) }, async (client) => {
    const frozen = await freezeGuest(client);
    assert.ok(typeof frozen !== "string");
    await frozen.thaw();
  });
  await withClient({ open: says(0, 1) }, async (client) => {
    const frozen = await freezeGuest(client);
    assert.ok(typeof frozen !== "string");
    await assert.rejects(frozen.thaw(), /went on by themselves/);
  });
});

Deno.test("freezeGuest gives up on an agent that takes too long, which is told so", async () => {
  const { setTimeout } = globalThis;
  const closed = Promise.withResolvers<void>();
  const stuck = async (stream: DoubleStream) => {
    stream.reply({ pid: 1 });
    while (!stream.ended) await stream.changed();
    closed.resolve();
  };
  // Its time is over at once; all others' is as long as it is.
  Object.defineProperty(globalThis, "setTimeout", {
    configurable: true,
    writable: true,
    value: (run: () => void, ms: number) => setTimeout(run, ms === LIMIT_MS ? 20 : ms),
  });
  try {
    await withClient({ open: stuck }, async (client) => {
      assert.equal(await freezeGuest(client), "it took longer than 5000 ms");
      await closed.promise;
    });
  } finally {
    globalThis.setTimeout = setTimeout;
  }
});
