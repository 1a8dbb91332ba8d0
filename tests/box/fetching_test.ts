import assert from "node:assert/strict";
import { until } from "../support/processes.ts";
import { boxRequest, type Connection, fetchOver } from "../../src/box/fetching.ts";

/** A connection to a server that says this once it was asked something, and no more. */
function serverThatSays(words: string, { ends = true } = {}): {
  readonly connection: Connection;
  /** What it was sent. */
  readonly heard: () => string;
  readonly closed: () => boolean;
} {
  let closed = false;
  let heard = "";
  const asked = Promise.withResolvers<void>();
  const readable = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async start(controller) {
      await asked.promise;
      controller.enqueue(new TextEncoder().encode(words));
      if (ends) controller.close();
    },
  });
  const writable = new WritableStream<Uint8Array>({
    write(bytes) {
      heard += new TextDecoder().decode(bytes);
      asked.resolve();
    },
  });
  const close = () => {
    closed = true;
    return Promise.resolve();
  };
  return { connection: { readable, writable, close }, heard: () => heard, closed: () => closed };
}

/** A body that begins, and goes on when it is told to. */
function slowBody(): {
  body: ReadableStream<Uint8Array>;
  finish: () => void;
  cancelled: () => boolean;
} {
  const rest = Promise.withResolvers<void>();
  let cancelled = false;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode("begun")),
    async pull(controller) {
      await rest.promise;
      controller.enqueue(new TextEncoder().encode(" and done"));
      controller.close();
    },
    cancel: () => void (cancelled = true),
  });
  return { body, finish: rest.resolve, cancelled: () => cancelled };
}

async function untilHeard(heard: () => string, words: string): Promise<void> {
  await until(() => Promise.resolve(heard().includes(words)), () => Promise.resolve(heard()));
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

Deno.test("fetchOver sends a body that comes slowly as it comes, and a short one with its length", async () => {
  const ok = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
  const slow = slowBody();
  const server = serverThatSays("", { ends: false });
  const controller = new AbortController();
  const asked = fetchOver(
    server.connection,
    boxRequest(80, "/", { method: "POST", body: slow.body, signal: controller.signal }),
  );
  asked.catch(() => {});
  await untilHeard(server.heard, "begun");
  assert.match(server.heard(), /^POST \/ HTTP\/1\.1\r\n[^]*transfer-encoding: chunked\r\n/i);
  slow.finish();
  await untilHeard(server.heard, "and done");
  await untilHeard(server.heard, "\r\n0\r\n\r\n");
  controller.abort(new Error("enough"));
  await assert.rejects(asked, /^Error: enough$/);

  const short = serverThatSays(ok);
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const letter of "ab") controller.enqueue(new TextEncoder().encode(letter));
      controller.close();
    },
  });
  await (await fetchOver(short.connection, boxRequest(80, "/", { method: "POST", body }))).text();
  assert.match(short.heard(), /content-length: 2\r\n/i);
});

Deno.test("fetchOver ends by its signal's reason, whatever it is about", async () => {
  const reason = new Error("enough");
  const gathering = new AbortController();
  const slow = slowBody();
  const { connection, closed } = serverThatSays("");
  const asked = fetchOver(
    connection,
    boxRequest(80, "/", { method: "POST", body: slow.body, signal: gathering.signal }),
  );
  gathering.abort(reason);
  await assert.rejects(asked, (error) => error === reason);
  assert.ok(closed() && slow.cancelled());

  const reading = new AbortController();
  const half = serverThatSays("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", { ends: false });
  const answer = await fetchOver(
    half.connection,
    boxRequest(80, "/", { signal: reading.signal }),
  );
  const text = answer.text();
  reading.abort(reason);
  await assert.rejects(text, (error) => error === reason);
});
