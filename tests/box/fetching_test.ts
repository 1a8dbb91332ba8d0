import assert from "node:assert/strict";
import { boxRequest, type Connection, fetchOver } from "../../src/box/fetching.ts";

/** A connection to a server that says this to whatever is asked, and no more; and whether it was closed. */
function serverThatSays(words: string): { connection: Connection; closed: () => boolean } {
  let closed = false;
  const asked = Promise.withResolvers<void>();
  const readable = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async start(controller) {
      await asked.promise;
      controller.enqueue(new TextEncoder().encode(words));
      controller.close();
    },
  });
  const writable = new WritableStream<Uint8Array>({ write: () => asked.resolve() });
  const close = () => {
    closed = true;
    return Promise.resolve();
  };
  return { connection: { readable, writable, close }, closed: () => closed };
}

Deno.test("fetchOver gives a server's answer, and closes the connection behind it", async () => {
  const { connection, closed } = serverThatSays("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
  const answer = await fetchOver(connection, boxRequest(80, "/", undefined));
  assert.deepEqual([answer.status, await answer.text()], [200, "hi"]);
  assert.ok(closed());
});

for (
  const [what, words, problem] of [
    [
      "switches protocols",
      "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
      { code: "guest_failed", message: /localhost\/ of a box: its server switches/ },
    ],
    ["says nothing", "", /hang up/],
    ["ends in its head", "HTTP/1.1 200 OK\r\ncontent-le", /hang up|aborted/],
    ["speaks no HTTP", "220 smtp.test ESMTP\r\n", /HTTP|Parse/i],
  ] as const
) {
  Deno.test(`fetchOver fails where a server ${what}`, async () => {
    const { connection, closed } = serverThatSays(words);
    await assert.rejects(fetchOver(connection, boxRequest(80, "/", undefined)), problem);
    assert.ok(closed());
  });
}
