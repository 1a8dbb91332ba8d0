import assert from "node:assert/strict";
import { join } from "node:path";
import { makeFrame } from "../../src/guest/codec.ts";
import { FrameType } from "../../src/guest/protocol.ts";
import { BYTES, pieceOf, PLACED, placed } from "../doubles/transfer_disk.ts";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { NativeAgent, NativeBox } from "./native.ts";

const cc = needs("cc");
const ignore = cc.ignore || Deno.build.os !== "linux";

function random(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  }
  return bytes;
}

async function sum(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return `${new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex()}  -\n`;
}

Deno.test(
  `the agent reads what commands get from its transfer disk${cc.note}`,
  { ignore },
  async () => {
    await using box = await NativeBox.start();
    const path = box.relay.transferPath ?? "";
    const one = async (size: number, piece: number) => {
      const bytes = random(size);
      const stream = box.client.open({
        ...{ op: "exec", argv: ["sha256sum"], env: ["PATH=/usr/bin:/bin"], cwd: "/" },
        ...{ user: String(Deno.uid() ?? 0), stdin: true },
      });
      const writer = stream.stdin.getWriter();
      const writing = (async () => {
        for (let at = 0; at < size; at += piece) await writer.write(bytes.subarray(at, at + piece));
        await writer.close();
      })();
      assert.equal(
        await new Response(stream.stdout).text(),
        await sum(bytes),
        `${size} by ${piece}`,
      );
      await writing;
    };
    let most = 0;
    const watching = setInterval(() => most = Math.max(most, Deno.statSync(path).blocks ?? 0), 1);
    try {
      await Promise.all([
        ...[one(9_000_000, 262_144), one(5_000_001, 100_003), one(3_000_000, 40_000)],
        ...[one(700_000, 700_000), one(100_000, 1000), one(6_000_000, 33_333)],
      ]);
    } finally {
      clearInterval(watching);
    }
    assert.ok(most > 0, "nothing came by it");
    while (Deno.statSync(path).blocks !== 0) await new Promise((resolve) => setTimeout(resolve, 1));
  },
);

/** An agent with a transfer disk that has these bytes. */
async function withDisk(
  bytes: Uint8Array,
  body: (agent: NativeAgent) => Promise<void>,
  { next = false } = {},
): Promise<void> {
  await using folder = new TempFolder();
  const transferPath = join(folder.path, "disk");
  await Deno.writeFile(transferPath, bytes);
  await Deno.truncate(transferPath, BYTES);
  await using agent = await NativeAgent.start({ transferPath, next });
  await body(agent);
}

Deno.test(
  `the agent takes a piece of the transfer disk for a frame's bytes, wherever it is cut${cc.note}`,
  {
    ignore,
  },
  async () => {
    await withDisk(pieceOf(new TextEncoder().encode("hello\n"), 7), async ({ peer }) => {
      const cat = peer.exec(["cat"], { stdin: true });
      await cat.next();
      const frame = makeFrame(FrameType.DATA, cat.number, placed(0, 6, 7), PLACED);
      for (const byte of frame) {
        peer.raw(new Uint8Array([byte]));
        await peer.flushed();
      }
      cat.input("there\n", true);
      assert.equal((await cat.outcome()).stdout, "hello\nthere\n");
      assert.deepEqual(peer.taken, [0, 1]); // that it has the disk; and the piece, with the last stream's end
    });
  },
);

for (const [disk, asked] of [[7, 8], [0, 0]] as const) {
  Deno.test(`the agent gives nobody a piece of another machine's host, marked ${asked}${cc.note}`, {
    ignore,
  }, async () => {
    await withDisk(pieceOf(new TextEncoder().encode("hello\n"), disk), async (agent) => {
      const cat = agent.peer.exec(["cat"], { stdin: true, more: { held: "00112233" } });
      await cat.next();
      agent.peer.send(FrameType.DATA, cat.number, placed(0, 6, asked), PLACED);
      await agent.peer.ended; // it looks for another host by itself
      const second = await agent.next();
      await second.hello;
      const adopted = second.open({ op: "adopt", held: "00112233" }, 5);
      adopted.input("there\n", true);
      assert.equal((await adopted.outcome()).stdout, "there\n");
      assert.equal(second.taken[0], 0);
    }, { next: true });
  });
}

for (
  const [what, payload] of [
    ["lies beyond its end", placed(BYTES, 1, 1)],
    ["reaches beyond its end", placed(BYTES - 4096, 4097, 1)],
    ["has its mark beyond its end", placed(BYTES - 4096, 4096, 1)],
    ["begins within a block", placed(512, 512, 1)],
    ["has no bytes", placed(0, 0, 1)],
    ["is larger than a frame", placed(0, 256 * 1024 + 1, 1)],
    ["is nowhere", new Uint8Array(11)],
  ] as const
) {
  Deno.test(`the agent gives up on a piece that ${what}${cc.note}`, { ignore }, async () => {
    await withDisk(new Uint8Array(), async (agent) => {
      const cat = agent.peer.exec(["cat"], { stdin: true });
      await cat.next();
      agent.expectLost();
      agent.peer.send(FrameType.DATA, cat.number, payload, PLACED);
      assert.partialDeepStrictEqual(await agent.peer.goodbye, { reason: "lost" });
    });
  });
}
