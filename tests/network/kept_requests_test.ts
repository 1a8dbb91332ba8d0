/** Requests after the first of a connection without TLS, with a `hutch-net` under sanitizers. */
import assert from "node:assert/strict";
import { needs } from "../support/tools.ts";
import { type GuestConnection, NetProcess } from "./net_process.ts";
import { resolver } from "./resolver.ts";

const cc = needs("cc");
const GATE = "10.213.77.1";

const GREETINGS = {
  socket: "GET /s HTTP/1.1\r\nhost: a.test\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
  tunnel: "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\n\r\n",
};

/** Hears all, and answers as the test wants; who ends, is answered so. */
class Server implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly port = this.#listener.addr.port;
  /** What the newest connection said so far. */
  heard = "";
  answer = "HTTP/1.1 204 No Content\r\n\r\n";
  #newest: Deno.TcpConn | undefined;

  constructor() {
    void (async () => {
      for await (const connection of this.#listener) {
        this.heard = "";
        void this.#talk(connection).catch(() => {});
      }
    })();
  }

  async #talk(connection: Deno.TcpConn): Promise<void> {
    using _ = connection;
    this.#newest = connection;
    const buffer = new Uint8Array(65_536);
    for (let n; (n = await connection.read(buffer)) !== null;) {
      this.heard += new TextDecoder("latin1").decode(buffer.subarray(0, n));
      if (this.answer !== "") await connection.write(new TextEncoder().encode(this.answer));
    }
  }

  /** Says something to the newest connection. */
  async say(text: string): Promise<void> {
    await this.#newest?.write(new TextEncoder().encode(text));
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

interface Scene extends AsyncDisposable {
  readonly server: Server;
  readonly net: NetProcess;
}

/** A box that may reach `a.test` and `b.test`, which are where `evil.test` is. */
async function scene(): Promise<Scene> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(new Server());
  const names = stack.use(await resolver(() => [{ data: GATE }]));
  const net = stack.use(
    await NetProcess.start(
      "mode open",
      `rules allow tcp a.test any;allow tcp b.test any;deny any any any`,
      `dns 127.0.0.1 ${names.port}`,
    ),
  );
  for (const name of ["a.test", "b.test"]) assert.equal((await net.ask(name)).code, 0);
  const kept = stack.move();
  return { server, net, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const isOver = ({ state }: GuestConnection) => state === "reset" || state === "ended";
const request = (host: string, more = "", body = "") =>
  `POST /p HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n${body}`;
const EVIL = request("evil.test");

function test(name: string, body: (scene: Scene) => Promise<void>): void {
  Deno.test(`${name}${cc.note}`, { ignore: cc.ignore }, async () => {
    await using own = await scene();
    await body(own);
  });
}

/** Waits until the server has heard so much. */
async function heard(server: Server, length: number): Promise<string> {
  for (let tries = 0; server.heard.length < length && tries < 1_000; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return server.heard;
}

const FINE = [
  request("a.test"),
  request("B.test", "content-length: 20\r\n", "GET / HTTP/1.1\r\nhost".slice(0, 20)),
  "\r\n" + request("a.test", "Transfer-Encoding: Chunked\r\n", "") +
  `5;ext=1\r\nhello\r\n1A\r\n${EVIL.slice(0, 26)}\r\n0\r\nx-trailer: 1\r\n\r\n`,
  request("a.test:80", "transfer-encoding: chunked\r\n", "0\r\n\r\n"),
  request("b.test", "content-length: 0\r\n"),
];

test("Requests of one connection go on as they are, however they are cut", async ({ server, net }) => {
  const all = FINE.join("");
  for (const piece of [5, 1_000]) {
    const connection = await net.connect(GATE, server.port);
    for (let at = 0; at < all.length; at += piece) await connection.say(all.slice(at, at + piece));
    assert.equal(await heard(server, all.length), all, `in pieces of ${piece}`);
    await connection.end();
    await connection.until(() => isOver(connection));
    assert.equal(connection.state, "ended");
  }
});

test("A request for a host that may not be reached goes nowhere, whatever came before", async ({ server, net }) => {
  for (const before of FINE) {
    const connection = await net.connect(GATE, server.port);
    await connection.say(before + EVIL);
    await connection.until(() => isOver(connection));
    assert(!server.heard.includes("evil"), server.heard);
    const { domain, rule } = await net.denied();
    assert.deepEqual([domain, rule], ["evil.test", 2]);
  }
});

test("What two servers may read differently goes nowhere", async ({ server, net }) => {
  const chunked = "transfer-encoding: chunked\r\n";
  for (
    const doubtful of [
      request("a.test", `content-length: 5\r\n${chunked}`, "0\r\n\r\n"),
      request("a.test", "content-length: 5\r\ncontent-length: 6\r\n", "hello"),
      request("a.test", "content-length: +5\r\n", "hello"),
      request("a.test", "content-length : 5\r\n", "hello"),
      request("a.test", "transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
      request("a.test", `${chunked}${chunked}`, "0\r\n\r\n"),
      request("a.test", chunked, "g\r\n\r\n"),
      request("a.test", chunked, "0x5\r\nhello\r\n"),
      request("a.test", chunked, "5\nhello\r\n"),
      request("a.test", chunked, "5\r\nhello!\r\n"),
      request("a.test", chunked, `${"1".repeat(15)}\r\n`),
      request("a.test", chunked, `5;${"x".repeat(5_000)}`),
      request("a.test", chunked).replace("HTTP/1.1", "HTTP/1.0") + "0\r\n\r\n",
      request("a.test") + "PRI * HTTP/2.0\r\n\r\n",
      request("a.test") + "ssh-2.0\r\n\r\n",
      request("a.test") + EVIL.replace(" ", "\t"),
      request("a.test") + ` ${EVIL}`,
      request("a.test") + `\r\n\t${EVIL}`,
      request("a.test") + request("a.test", "upgrade: websocket\r\n"),
      request("a.test") + `GET / HTTP/1.1\r\nx: ${"y".repeat(40_000)}`,
    ]
  ) {
    const connection = await net.connect(GATE, server.port);
    await connection.say(doubtful);
    await connection.say(EVIL);
    await connection.until(() => isOver(connection));
    assert(!server.heard.includes("evil"), `${doubtful}: ${server.heard}`);
    assert.equal((await net.denied()).event, "denied", doubtful);
  }
});

test("Another protocol comes when the server says so, and is a WebSocket or a tunnel", async ({ server, net }) => {
  const { socket, tunnel } = GREETINGS;
  const plain = socket.replace("websocket", "h2c");
  const [switches, fine] = ["HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"];
  for (
    const [first, answer, raw] of [
      [socket, switches, true],
      [socket, fine, false],
      [plain, switches, false],
      [plain, fine, false],
      [tunnel, fine, true],
      [tunnel, "HTTP/1.1 403 No\r\n\r\n", false],
    ] as const
  ) {
    server.answer = answer;
    const connection = await net.connect(GATE, server.port);
    await connection.say(first + EVIL); // held until the server has answered
    await connection.until(() => connection.received !== "");
    if (raw) {
      assert.equal(await heard(server, first.length + EVIL.length), first + EVIL);
      await connection.end();
    } else {
      await connection.until(() => isOver(connection));
      assert.equal(server.heard, first);
      await net.denied();
    }
  }
});

/** Answers to which another one comes. */
const INTERIM =
  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx: HTTP/1.1 101 \r\n\r\n";

test("Whether another protocol comes is said in pieces, and after answers that another follows", async ({ server, net }) => {
  server.answer = "";
  const { socket, tunnel } = GREETINGS;
  for (
    const [first, answer, raw] of [
      [socket, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\nframe", true],
      [tunnel, "HTTP/1.1 200 OK\r\n\r\nframe", true],
      [socket, "HTTP/1.1 400 No\r\n\r\n", false],
      [tunnel, "HTTP/1.1 101 Switching Protocols\r\n\r\n", false],
      [socket, "nonsense\n", false],
    ] as const
  ) {
    for (const [interim, size] of [["", 1], [INTERIM, 7], [INTERIM, 1_000]] as const) {
      server.heard = "";
      const connection = await net.connect(GATE, server.port);
      await connection.say(first + EVIL);
      assert.equal(await heard(server, first.length), first);
      const told = async (text: string) => {
        for (let at = 0; at < text.length && !isOver(connection); at += size) {
          const all = connection.bytes + text.slice(at, at + size).length;
          await server.say(text.slice(at, at + size));
          await connection.until(() => connection.bytes === all || isOver(connection));
        }
      };
      await told(interim);
      assert.equal(connection.received, interim);
      assert.equal(server.heard, first, "it is held until the server has answered");
      await told(answer);
      if (raw) {
        assert.equal(await heard(server, first.length + EVIL.length), first + EVIL);
        await connection.until(() => connection.received === interim + answer);
        await connection.end();
      } else {
        await connection.until(() => isOver(connection));
        assert.equal(server.heard, first);
        await net.denied();
      }
    }
  }
});
