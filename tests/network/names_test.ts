/** Rules for names, with a `hutch-net` under sanitizers whose guest is the test. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { hello } from "./hello.ts";
import { type GuestConnection, NetProcess } from "./net_process.ts";
import { type Answered, resolver } from "./resolver.ts";

const cc = needs("cc");
const GATE = { v4: "10.213.77.1", v6: "fd5a:7c1e:68b4::1" } as const;
const REFUSED = 5;
const own: readonly Answered[] = [{ data: GATE.v4 }, { data: GATE.v6 }];

/** Says who it is at once, then what it hears, in upper case, and ends when the other has. */
class Server implements Disposable {
  readonly #listener: Deno.TcpListener;
  readonly port: number;
  readonly heard: string[] = [];

  constructor(hostname: string, port = 0, greeting = "hello ") {
    const listener = Deno.listen({ hostname, port });
    this.#listener = listener;
    this.port = listener.addr.port;
    void (async () => {
      for await (const connection of listener) {
        void this.#talk(connection, greeting).catch(() => {});
      }
    })();
  }

  async #talk(connection: Deno.TcpConn, greeting: string): Promise<void> {
    using _ = connection;
    const index = this.heard.push("") - 1;
    await connection.write(new TextEncoder().encode(greeting));
    const buffer = new Uint8Array(65_536);
    for (let n; (n = await connection.read(buffer)) !== null;) {
      const text = new TextDecoder().decode(buffer.subarray(0, n));
      this.heard[index] += text;
      await connection.write(new TextEncoder().encode(text.toUpperCase()));
    }
    await connection.write(new TextEncoder().encode(" over"));
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

function test(name: string, body: () => Promise<void>): void {
  Deno.test(`${name}${cc.note}`, { ignore: cc.ignore }, body);
}

/** The stack hands a reset on as one, or as an end where it has just written. */
const isOver = ({ state }: GuestConnection) => state === "reset" || state === "ended";

const rules = (...texts: readonly string[]) => `rules ${texts.join(";")}`;

test("A name leads where its answer said, and only after that", async () => {
  using server = new Server("127.0.0.1");
  using six = new Server("::1", server.port);
  using names = await resolver((name) => name === "api.test" ? own : undefined);
  await using net = await NetProcess.start(
    "mode open",
    rules(`allow tcp api.test ${server.port}`, "deny any any any"),
    `dns 127.0.0.1 ${names.port}`,
  );
  assert.equal((await net.connect(GATE.v4, server.port)).state, "refused");
  assert.deepEqual(
    await net.denied().then(({ rule, domain, group }) => ({ rule, domain, group })),
    {
      rule: 1,
      domain: null,
      group: "host",
    },
  );
  assert.deepEqual(await net.ask("API.test"), { code: 0, records: 1 });
  const connection = await net.connect(GATE.v4, server.port);
  await connection.until(() => connection.received === "hello ");
  await connection.say("ssh-2.0\r\n");
  await connection.end();
  await connection.until(() => connection.state === "ended");
  assert.equal(connection.received, "hello SSH-2.0\r\n over");
  assert.equal((await net.connect(GATE.v6, server.port)).state, "refused");
  assert.equal((await net.denied()).address, GATE.v6);
  assert.deepEqual(await net.ask("api.test", "AAAA"), { code: 0, records: 1 });
  assert.equal((await net.connect(GATE.v6, server.port)).state, "open");
  assert.equal((await net.connect(GATE.v4, server.port + 1)).state, "refused");
  assert.equal((await net.denied()).domain, "api.test");
  assert.equal(six.heard.length + server.heard.length > 0, true);
});

test("A name that no rule knows isn't asked for, so that nothing gets out by it", async () => {
  using names = await resolver(() => own);
  await using net = await NetProcess.start(
    "mode open",
    rules(
      "deny any bad.example.test any",
      "allow tcp *.example.test any",
      "allow any 1.2.3.4 any",
      "deny any any any",
    ),
    `dns 127.0.0.1 ${names.port}`,
  );
  for (
    const [name, code] of [
      ["secret.tunnel.test", REFUSED],
      ["example.test", REFUSED],
      ["notexample.test", REFUSED],
      ["bad.example.test", REFUSED],
      ["a.example.test", 0],
      ["a.b.example.test", 0],
    ] as const
  ) {
    assert.equal((await net.ask(name)).code, code, name);
    if (code === 0) continue;
    const { protocol, domain: about } = await net.denied();
    assert.deepEqual([protocol, about], ["dns", name]);
  }
  assert.deepEqual(await net.ask("a.example.test", "HTTPS"), { code: 0, records: 0 });
  assert.deepEqual(names.asked, ["a.example.test 1", "a.b.example.test 1"]);
});

test("A name that turns to this machine, a neighbour or a cloud's services isn't believed", async () => {
  let answer: readonly Answered[] = [{ data: "93.184.216.34" }];
  using names = await resolver(() => answer);
  await using net = await NetProcess.start(
    "mode nat",
    rules("allow any 10.9.0.0/16 443", "allow tcp site.test any", "deny any any any"),
    `dns 127.0.0.1 ${names.port}`,
  );
  assert.equal((await net.ask("site.test")).code, 0);
  for (
    const data of [
      "10.0.0.1",
      "127.0.0.1",
      "169.254.169.254",
      "192.168.1.1",
      "0.0.0.0",
      GATE.v4,
      "::1",
      "fd00::1",
      "::ffff:7f00:1",
    ]
  ) {
    answer = [{ data: data.includes(":") ? "2606:4700::1" : "93.184.216.34" }, { data }];
    const said = await net.ask("site.test", data.includes(":") ? "AAAA" : "A");
    assert.equal(said.code, REFUSED, data);
    const event = await net.denied();
    assert.deepEqual([event.protocol, event.domain, event.rule], ["dns", "site.test", 1], data);
  }
  answer = [{ data: "10.9.1.1" }];
  assert.equal((await net.ask("site.test")).code, 0, "what another rule allows");
  assert.equal((await net.connect("10.9.1.1", 80)).state, "refused", "on that rule's ports alone");
});

/** Where the tests' name servers are: this machine's own would be on the usual addresses. */
const SERVERS = ["127.77.0.1", "127.77.0.2"] as const;

Deno.test(`Who names no servers asks this machine's, as its resolv.conf says by then${cc.note}`, {
  ignore: cc.ignore || Deno.uid() !== 0,
}, async () => {
  await using folder = new TempFolder();
  const file = join(folder.path, "resolv.conf");
  using first = await resolver(() => own, { address: SERVERS[0], port: 53 });
  using second = await resolver(() => own, { address: SERVERS[1], port: 53 });
  await Deno.writeTextFile(file, `# one\nsearch test\nnameserver ${SERVERS[0]}\n`);
  const within = `mount --bind "$0" /etc/resolv.conf && exec "$@"`;
  await using net = await NetProcess.startBy(
    ["unshare", "-m", "sh", "-c", within, file],
    ["mode open"],
  );
  assert.deepEqual(await net.ask("a.test"), { code: 0, records: 1 });
  await Deno.writeTextFile(file, `nameserver 127.77.0.3\nnameserver ${SERVERS[1]}\n`);
  assert.deepEqual(await net.ask("b.test", "AAAA"), { code: 0, records: 1 });
  assert.deepEqual([first.asked, second.asked], [["a.test 1"], ["b.test 28"]]);
});

test("Datagrams go out and come back by IPv4 and IPv6, and are refused at once", async () => {
  await using stack = new AsyncDisposableStack();
  await using net = await NetProcess.start("mode open");
  for (
    const [kind, here, gate] of [["udp4", "127.0.0.1", GATE.v4], ["udp6", "::1", GATE.v6]] as const
  ) {
    const socket = createSocket(kind, (data, from) => {
      socket.send(data.toString().toUpperCase(), from.port, from.address);
    });
    stack.defer(() => void socket.close());
    socket.bind(0, here);
    await once(socket, "listening");
    const { port } = socket.address();
    await net.order("mode open");
    assert.equal(await net.exchange(gate, port, "hello"), "HELLO", kind);
    await net.order("mode nat");
    assert.equal(await net.exchange(gate, port, "hello"), undefined, kind);
    const { protocol, address, group } = await net.denied();
    assert.deepEqual([protocol, address, group], ["udp", gate, "host"]);
  }
});

test("An alias leads on, and another's record counts for nothing", async () => {
  let answer: readonly Answered[] = [];
  using server = new Server("127.0.0.1");
  using names = await resolver(() => answer);
  await using net = await NetProcess.start(
    "mode open",
    rules(`allow tcp www.test ${server.port}`, "deny any any any"),
    `dns 127.0.0.1 ${names.port}`,
  );
  answer = [{ data: GATE.v4, owner: "other.test" }];
  assert.notEqual((await net.ask("www.test")).code, 0);
  assert.equal((await net.connect(GATE.v4, server.port)).state, "refused");
  answer = [{ data: "-> cdn.test" }, { data: GATE.v4, owner: "cdn.test" }];
  assert.equal((await net.ask("www.test")).code, 0);
  assert.equal((await net.connect(GATE.v4, server.port)).state, "open");
});

/** What is said, in pieces, and whether it goes on. */
const greetings:
  readonly (readonly [string, readonly (string | Uint8Array<ArrayBuffer>)[], boolean])[] = [
    ["TLS for the name", [hello("api.test")], true],
    ["TLS for the name in large letters", [hello("API.Test")], true],
    ["TLS in three records", [hello("api.test", [1, 20])], true],
    ["TLS in pieces", [
      hello("api.test").slice(0, 3),
      hello("api.test").slice(3, 60),
      hello("api.test").slice(60),
    ], true],
    ["TLS for another name", [hello("evil.test")], false],
    ["TLS without a name", [hello(undefined)], false],
    ["TLS for an address", [hello(GATE.v4)], false],
    ["TLS for another name in two records", [hello("evil.test", [10])], false],
    ["TLS that begins with something else", [Uint8Array.of(22, 3, 1, 0, 2, 2, 0)], false],
    ["TLS with a hello of no end", [Uint8Array.of(22, 3, 1, 64, 0, 1, 255, 255, 255)], false],
    ["HTTP for the name", ["GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"], true],
    [
      "HTTP for the name and a port",
      ["\r\nPOST /x HTTP/1.0\nA: b\nhOsT:\t API.test:8080 \n\n"],
      true,
    ],
    ["HTTP in pieces", ["GE", "T / HTTP/1.1\r\nHo", "st: api.test\r\n", "\r\n"], true],
    ["HTTP for all of it", ["GET http://api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n"], true],
    ["HTTP for another name", ["GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"], false],
    ["HTTP without a name", ["GET / HTTP/1.1\r\nA: b\r\n\r\n"], false],
    ["HTTP for an address", [`GET / HTTP/1.1\r\nHost: ${GATE.v4}\r\n\r\n`], false],
    ["HTTP for two names", ["GET / HTTP/1.1\r\nHost: api.test\r\nHost: evil.test\r\n\r\n"], false],
    [
      "HTTP for another name beside",
      ["GET http://evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n"],
      false,
    ],
    [
      "HTTP for a name that goes on",
      ["GET / HTTP/1.1\r\nHost: api.test\r\n .evil.test\r\n\r\n"],
      false,
    ],
    ["HTTP with a hidden line", [
      "GET / HTTP/1.1\r\nA: b\rHost: evil.test\r\nHost: api.test\r\n\r\n",
    ], false],
    [
      "HTTP with a user",
      ["GET http://api.test@evil.test/ HTTP/1.1\r\nHost: api.test\r\n\r\n"],
      false,
    ],
    ["a tunnel", ["CONNECT evil.test:443 HTTP/1.1\r\nHost: api.test\r\n\r\n"], false],
    ["HTTP as it began", ["GET /\r\n"], false],
    ["HTTP/2", ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], false],
    ["HTTP with a loose end", ["POST / HTTP/1.1 \r\nHost: api.test\r\n\r\n"], false],
    ["HTTP with an endless head", [`GET / HTTP/1.1\r\nA: ${"x".repeat(33_000)}`], false],
    ["another protocol", ["EHLO there\r\n"], true],
    ["another one", [Uint8Array.of(0, 0, 0, 8, 4, 210, 22, 47)], true],
  ];

test("The first bytes of a connection must be for a name that may be reached", async () => {
  using server = new Server("127.0.0.1");
  using names = await resolver(() => own);
  await using net = await NetProcess.start(
    "mode open",
    rules(`allow tcp api.test ${server.port}`, `allow tcp evil.test 1`, "deny any any any"),
    `dns 127.0.0.1 ${names.port}`,
  );
  await net.ask("api.test");
  await net.ask("evil.test");
  for (const [what, pieces, goesOn] of greetings) {
    const connection = await net.connect(GATE.v4, server.port);
    await connection.until(() => connection.received === "hello ");
    const before = server.heard.length;
    for (const piece of pieces) await connection.say(piece);
    const size = pieces.reduce((sum, piece) => sum + piece.length, 0);
    await connection.until(() => connection.bytes >= size + "hello ".length || isOver(connection));
    assert.equal(isOver(connection), !goesOn, what);
    if (goesOn) {
      await connection.end();
      await connection.until(() => connection.state === "ended");
    } else {
      assert.equal((await net.denied()).rule, 2, what);
      assert.equal(server.heard[before - 1], "", `${what}: nothing got out`);
    }
  }
});

test("A name that is denied is so wherever a connection says it", async () => {
  using server = new Server("127.0.0.1");
  await using net = await NetProcess.start("mode open", rules("deny any evil.test any"));
  const good = await net.connect(GATE.v4, server.port);
  await good.say(hello("other.test"));
  await good.until(() => good.bytes > 60);
  assert.equal(good.state, "open");
  const bad = await net.connect(GATE.v4, server.port);
  await bad.say(hello("evil.test"));
  await bad.until(() => isOver(bad));
  assert(!server.heard.join().includes("evil"), "nothing got out");
  const { rule, domain } = await net.denied();
  assert.deepEqual([rule, domain], [0, "evil.test"]);
});

test("A connection by name carries much both ways, and ends as its ends do", async () => {
  const size = 8 * 2 ** 20;
  using sink = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = sink.addr;
  using names = await resolver(() => own);
  await using net = await NetProcess.start(
    "mode open",
    rules("allow tcp api.test any", "deny any any any"),
    `dns 127.0.0.1 ${names.port}`,
  );
  await net.ask("api.test");
  const served = (async () => {
    using connection = await sink.accept();
    const buffer = new Uint8Array(65_536);
    let got = 0;
    for (let n; (n = await connection.read(buffer)) !== null;) got += n;
    for (let left = size; left > 0;) left -= await connection.write(buffer.subarray(0, left));
    return got;
  })();
  const connection = await net.connect(GATE.v4, port);
  await connection.say(Uint8Array.of(1));
  await connection.say(new Uint8Array(size - 1));
  await connection.end();
  await connection.until(() => connection.state === "ended");
  assert.equal(connection.bytes, size);
  assert.equal(await served, size);
  const nobody = await net.connect(GATE.v4, 1);
  await nobody.until(() => isOver(nobody)); // where nothing listens
  assert.equal(nobody.received, "");
});

test("Rules for what comes in refuse a published port at once", async () => {
  await using net = await NetProcess.start(
    "mode nat",
    rules("deny in tcp host 80", "deny in any 10.0.0.0/8 any"),
  );
  const { port } = await net.order("publish tcp 127.0.0.1 0 80");
  using connection = await Deno.connect({ port: Number(port) });
  assert.equal(await connection.read(new Uint8Array(1)).catch(() => null), null);
  const { rule, port: from, group } = await net.denied();
  assert.deepEqual([rule, group, typeof from], [0, "host", "number"]);
});

test("A limit of the bandwidth holds what goes each way", async () => {
  const size = 2 ** 20;
  const rate = 8_000_000;
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using net = await NetProcess.start("mode open", `limit up ${rate}`, `limit down ${rate}`);
  const served = (async () => {
    using connection = await listener.accept();
    const buffer = new Uint8Array(65_536);
    for (let left = size; left > 0;) left -= await connection.read(buffer) ?? left;
    const heard = performance.now();
    for (let left = size; left > 0;) left -= await connection.write(buffer.subarray(0, left));
    return heard;
  })();
  const connection = await net.connect(GATE.v4, listener.addr.port);
  const from = performance.now();
  await connection.say(new Uint8Array(size));
  const heard = await served;
  await connection.until(() => connection.bytes === size);
  // A tenth of a second may be saved up beforehand, and what is on its way comes at once.
  const least = (size * 8 / rate * 1000) / 2;
  assert(heard - from > least, `sent in ${heard - from} ms`);
  assert(performance.now() - heard > least, `received in ${performance.now() - heard} ms`);
});

test("Connections to hosts of secrets go to their interceptor, and the rest where they were going", async () => {
  await using folder = new TempFolder();
  const path = join(folder.path, "i");
  using interceptor = Deno.listen({ transport: "unix", path });
  using server = new Server("127.0.0.1");
  await using net = await NetProcess.start("mode open", `intercept ${path} api.test *.sub.test`);
  const { port } = server;
  for (
    const [what, first] of [
      ["tls a.sub.test", hello("a.sub.test")],
      ["http other.test", new TextEncoder().encode("GET / HTTP/1.1\r\nHost: other.test\r\n\r\n")],
    ] as const
  ) {
    const connection = await net.connect(GATE.v4, port);
    await connection.say(first);
    using taken = await interceptor.accept();
    const buffer = new Uint8Array(4096);
    const wanted = [
      ...new TextEncoder().encode(`${what.replace(" ", ` ${GATE.v4} ${port} `)} -\n`),
      ...first,
    ];
    let got = 0;
    while (got < wanted.length) got += await taken.read(buffer.subarray(got)) ?? wanted.length;
    assert.deepEqual([...buffer.subarray(0, got)], wanted);
    await taken.write(new TextEncoder().encode("answer"));
    await taken.closeWrite();
    await connection.until(() => connection.state === "ended");
    assert(connection.received.endsWith("answer"));
    await connection.end();
    assert.equal(await taken.read(buffer), null);
  }
  const own = await net.connect(GATE.v4, port);
  await own.say(hello("other.test"));
  await own.until(() => own.bytes > 80);
  assert.equal(own.state, "open", "TLS to another host, on another port than 443");
  interceptor.close();
  const lost = await net.connect(GATE.v4, port);
  await lost.say(hello("api.test"));
  await lost.until(() => isOver(lost));
  assert.equal(server.heard.at(-1), "", "without its interceptor it goes nowhere");
  await net.order(`leaked TOKEN 10.0.0.1 443 evil.test`);
  const { at: _at, ...leaked } = await net.denied();
  assert.deepEqual(leaked, {
    ...{ event: "leaked", secret: "TOKEN", address: "10.0.0.1", port: 443, domain: "evil.test" },
  });
});
