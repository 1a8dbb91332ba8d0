/** The interceptor with real servers and clients: TLS both ways, each by an authority of its own. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { Issuer, makeAuthority } from "../../src/network/intercept/authority.ts";
import { Interceptor } from "../../src/network/intercept/interceptor.ts";
import { TempFolder } from "../support/temp.ts";
import { SECRET, Setting, tunnel, VALUE } from "./interceptor_setting.ts";

const telling = async (request: Request) =>
  Response.json({
    method: request.method,
    url: request.url,
    headers: Object.fromEntries(request.headers),
    body: await request.text(),
  });

for (const http2 of [true, false]) {
  Deno.test(`Interceptor puts secrets into headers by HTTP/${http2 ? 2 : 1.1}`, async () => {
    await using setting = await Setting.make(telling, {}, http2);
    const said = await setting.fetch(`https://api.test/p/a?q=${SECRET.placeholder}`, {
      method: "POST",
      headers: {
        authorization: `Bearer ${SECRET.placeholder}`,
        "x-plain": "as it is",
        "x-basic": `Basic ${btoa(SECRET.placeholder)}`,
      },
      body: `body ${SECRET.placeholder}`,
    });
    assert.equal(said.status, 200);
    const { method, url, headers, body } = await said.json();
    assert.equal(method, "POST");
    assert(url.endsWith(`/p/a?q=${SECRET.placeholder}`), "a place that wasn't asked for");
    assert.equal(headers.authorization, `Bearer ${VALUE}`);
    assert.equal(headers["x-plain"], "as it is");
    assert.equal(body, `body ${SECRET.placeholder}`);
    const basic = { authorization: `Basic ${btoa(`user:${SECRET.placeholder}`)}` };
    const encoded = await (await setting.fetch("https://x.sub.test/", { headers: basic })).json();
    assert.equal(atob(encoded.headers.authorization.slice(6)), `user:${VALUE}`);
    assert.deepEqual(setting.leaks, []);
  });
}

Deno.test("Interceptor puts secrets into queries and bodies where that was asked for", async () => {
  await using setting = await Setting.make(telling, { places: ["query", "body"] });
  const { placeholder } = SECRET;
  const pieces = [
    `a ${placeholder.slice(0, 20)}`,
    `${placeholder.slice(20)} b hutch-`,
    `sec ${placeholder}`,
  ];
  const body = ReadableStream.from(pieces).pipeThrough(new TextEncoderStream());
  const said = await setting.fetch(`https://api.test/?a=1&t=${placeholder}`, {
    method: "PUT",
    headers: { authorization: placeholder },
    body,
  });
  const got = await said.json();
  assert.equal(new URL(got.url).search, `?a=1&t=${encodeURIComponent(VALUE)}`);
  assert.equal(got.body, `a ${VALUE} b hutch-sec ${VALUE}`);
  assert.equal(got.headers.authorization, placeholder);
});

Deno.test("Interceptor lets no placeholder of a secret go to another host", async () => {
  let asked = 0;
  const bodies: string[] = [];
  await using setting = await Setting.make(async (request) => {
    asked++;
    bodies.push(await request.text().catch(() => "cut off"));
    return new Response("ok");
  });
  const { placeholder } = SECRET;
  for (
    const [url, init] of [
      ["https://other.test/", { headers: { "x-token": placeholder } }],
      ["https://other.test/", { headers: { authorization: `Basic ${btoa(`:${placeholder}`)}` } }],
      [`https://other.test/${placeholder}`, {}],
      [`https://other.test/?${placeholder}`, {}],
    ] as const
  ) {
    const said = await setting.fetch(url, init);
    assert.equal(said.status, 403);
    assert.match(await said.text(), /the secret TOKEN isn't for this host/);
  }
  assert.equal(asked, 0, "nothing got out");
  const said = await setting.fetch("https://other.test/", {
    method: "POST",
    body: `x ${placeholder}`,
  })
    .then((answer) => answer.text().then(() => answer.status), () => 0);
  assert.notEqual(said, 200);
  assert(!bodies.join().includes(placeholder));
  assert.deepEqual(setting.leaks, new Array(5).fill("TOKEN other.test"));
  assert.equal(await (await setting.fetch("https://other.test/")).text(), "ok");
});

Deno.test("Interceptor looks at each request without TLS, and replaces nothing in it", async () => {
  await using setting = await Setting.make(telling);
  await using plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, telling);
  const line = `http 127.0.0.1 ${plain.addr.port} api.test -`;
  const request = (host: string, more = "") => `GET /p HTTP/1.1\r\nhost: ${host}\r\n${more}\r\n`;
  const said = await setting.plain(
    line,
    request("api.test") + request("other.test") + request("api.test", "connection: close\r\n"),
  );
  assert.deepEqual(
    [...said.matchAll(/HTTP\/1.1 (\d+) /g)].map(([, status]) => status),
    ["200", "421", "200"],
    "the second is for another host than its connection",
  );
  const { placeholder } = SECRET;
  const leaking = request("api.test", `x: ${placeholder}\r\nconnection: close\r\n`);
  assert.match(await setting.plain(line, leaking), /^HTTP\/1.1 403 /);
  assert.deepEqual(setting.leaks, ["TOKEN api.test"]);
});

/** How much is streamed. */
const BODY_MIB = Number(Deno.env.get("BODY_MIB") ?? 32);

Deno.test("Interceptor streams much both ways at once, and gives answers as they are", async () => {
  await using setting = await Setting.make((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/echo") return new Response(request.body);
    if (pathname === "/moved") return Response.redirect("https://api.test/echo", 302);
    if (pathname === "/none") return new Response(null, { status: 204 });
    const headers = { "content-encoding": "gzip", "set-cookie": "a=b" };
    return new Response(Uint8Array.from(gzipSync("packed")), { headers });
  });
  const kept = await setting.echoed(BODY_MIB);
  assert.ok(kept < 256, `${kept} MiB were kept of what goes through`);
  const moved = await setting.fetch("https://api.test/moved", { redirect: "manual" });
  assert.equal(moved.headers.get("location"), "https://api.test/echo");
  await moved.body?.cancel();
  assert.equal((await setting.fetch("https://api.test/none")).status, 204);
  const packed = await setting.fetch("https://api.test/packed");
  assert.equal(packed.headers.get("set-cookie"), "a=b");
  assert.equal(await packed.text(), "packed");
});

Deno.test("Interceptor joins WebSockets, with secrets in what they begin with", async () => {
  await using setting = await Setting.make(
    (request) => {
      const token = request.headers.get("x-token");
      const { socket, response } = Deno.upgradeWebSocket(request, { protocol: "two" });
      socket.onopen = () => socket.send(`first, with ${token}`);
      socket.onmessage = ({ data }) => {
        if (data === "end") socket.close(3001, "because");
        else socket.send(data);
      };
      return response;
    },
    {},
    false,
  );
  const socket = new WebSocket("wss://api.test/", {
    protocols: ["one", "two"],
    headers: { "x-token": SECRET.placeholder },
    client: setting.client,
  });
  socket.binaryType = "arraybuffer";
  const heard: unknown[] = [];
  const closed = Promise.withResolvers<CloseEvent>();
  socket.onmessage = ({ data }) => {
    heard.push(typeof data === "string" ? data : Buffer.from(data).toString("hex"));
    if (heard.length === 1) socket.send(Uint8Array.of(1, 2, 255));
    if (heard.length === 2) socket.send("end");
  };
  socket.onclose = (event) => closed.resolve(event);
  const { code, reason } = await closed.promise;
  assert.deepEqual([heard, code, reason, socket.protocol], [
    [`first, with ${VALUE}`, "0102ff"],
    3001,
    "because",
    "two",
  ]);
});

/** Reads up to the end of a head. */
async function readHeadOf(connection: Deno.Conn): Promise<string> {
  let head = "";
  const buffer = new Uint8Array(1);
  while (!head.endsWith("\r\n\r\n") && await connection.read(buffer) !== null) {
    head += String.fromCharCode(buffer[0] ?? 0);
  }
  return head;
}

/** Sends frames of a MiB. */
class Flood {
  readonly #connection: Deno.Conn;
  readonly #frame: Uint8Array<ArrayBuffer>;
  #at = 0;
  #writing: Promise<number> | undefined;
  /** Frames that have gone. */
  sent = 0;

  constructor(connection: Deno.Conn, masked: boolean) {
    const size = 2 ** 20;
    const mask = masked ? [0, 0, 0, 0] : [];
    const head = [0x82, masked ? 0xff : 0x7f, 0, 0, 0, 0, 0, 0x10, 0, 0, ...mask];
    this.#connection = connection;
    this.#frame = new Uint8Array(head.length + size);
    this.#frame.set(head);
  }

  /** Goes on until nothing goes for a while, or `most` have gone. */
  async run(most: number): Promise<number> {
    while (this.sent < most) {
      const late = Promise.withResolvers<undefined>();
      const timer = setTimeout(() => late.resolve(undefined), 1_500);
      this.#writing ??= this.#connection.write(this.#frame.subarray(this.#at));
      const n = await Promise.race([this.#writing.catch(() => undefined), late.promise]);
      clearTimeout(timer);
      if (n === undefined) break;
      this.#writing = undefined;
      this.#at += n;
      if (this.#at < this.#frame.length) continue;
      this.#at = 0;
      this.sent++;
    }
    return this.sent;
  }
}

Deno.test("Interceptor keeps little of a WebSocket whose other side takes nothing", async () => {
  const MOST = 192;
  await using setting = await Setting.make(() => new Response());
  for (const from of ["server", "client"] as const) {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = await Deno.connect({ transport: "unix", path: setting.socketPath });
    using _client = { [Symbol.dispose]: () => client.close() };
    const key = btoa("0123456789abcdef");
    const head = `http 127.0.0.1 ${listener.addr.port} api.test -\nGET / HTTP/1.1\r\n` +
      `host: api.test:${listener.addr.port}\r\nconnection: upgrade\r\nupgrade: websocket\r\n` +
      `sec-websocket-version: 13\r\nsec-websocket-key: ${key}\r\n\r\n`;
    await client.write(new TextEncoder().encode(head));
    using server = await listener.accept();
    const asked = /sec-websocket-key: *(\S+)/i.exec(await readHeadOf(server))?.[1];
    const accept = createHash("sha1").update(`${asked}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
    await server.write(new TextEncoder().encode(
      "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
        `sec-websocket-accept: ${accept.digest("base64")}\r\n\r\n`,
    ));
    assert.match(await readHeadOf(client), /^HTTP\/1.1 101 /);
    const [talker, other] = from === "server" ? [server, client] : [client, server];
    const flood = new Flood(talker, from === "client");
    const sent = await flood.run(MOST);
    assert(sent < MOST / 2, `${sent} MiB of the ${from}'s were taken`);
    // Once it is taken, more goes.
    void other.readable.pipeTo(new WritableStream()).catch(() => {});
    assert.equal(await flood.run(sent + 32), sent + 32, `the ${from} goes on`);
  }
});

Deno.test("Interceptor refuses requests for another host than its connection's, and servers it doesn't know", async () => {
  await using setting = await Setting.make(telling);
  const other = await setting.fetch("https://api.test/", { headers: { host: "other.test" } })
    .catch(() => undefined);
  assert(other === undefined || other.status === 421 || other.status === 200);
  await other?.body?.cancel();
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(new TempFolder());
  const own = await makeAuthority();
  const leaks: string[] = [];
  stack.use(
    new Interceptor({
      socketPath: join(folder.path, "s"),
      issuer: await Issuer.of(own),
      secrets: [SECRET],
      caCerts: [], // the server's authority isn't one
      leaked: ({ secret }) => void leaks.push(secret),
      hooked() {},
    }),
  );
  const proxy = stack.adopt(Deno.listen({ hostname: "127.0.0.1", port: 0 }), (it) => it.close());
  void (async () => {
    for await (const connection of proxy) {
      void tunnel(connection, { socketPath: join(folder.path, "s"), port: setting.port }).catch(
        () => {},
      );
    }
  })();
  const client = stack.adopt(
    Deno.createHttpClient({
      caCerts: [own.certificate],
      proxy: { url: `http://127.0.0.1:${proxy.addr.port}` },
    }),
    (it) => it.close(),
  );
  const said = await fetch("https://api.test/", {
    headers: { authorization: SECRET.placeholder },
    client,
  });
  assert.equal(said.status, 502);
  assert.equal(await said.text(), "hutch: cannot reach api.test\n");
});
