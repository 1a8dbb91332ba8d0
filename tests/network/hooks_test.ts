/** Hooks of programs, with a `hutch-net` under sanitizers whose guest and whose program are the test. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { NAME_SERVER, NetProcess } from "./net_process.ts";
import { resolver } from "./resolver.ts";

const cc = needs("cc");
const GATE = { v4: "10.213.77.1", v6: "fd5a:7c1e:68b4::1" } as const;
const REFUSED = 5;

type Line = Record<string, unknown>;

/** A program that answers questions. */
class Program implements Disposable {
  readonly #connection: Deno.UnixConn;
  readonly #buffer = new Uint8Array(64 * 1024);
  #rest = "";
  #closed = false;

  private constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
  }

  static async of(net: NetProcess, order: string): Promise<Program> {
    const program = new Program(await Deno.connect({ transport: "unix", path: net.controlPath }));
    await program.say(order);
    assert.equal((await program.line()).ok, true, order);
    return program;
  }

  async say(order: string): Promise<void> {
    await this.#connection.write(new TextEncoder().encode(`${order}\n`));
  }

  async line(): Promise<Line> {
    while (!this.#rest.includes("\n")) {
      const n = await this.#connection.read(this.#buffer);
      assert(n !== null, "hutch-net hung up");
      this.#rest += new TextDecoder().decode(this.#buffer.subarray(0, n));
    }
    const end = this.#rest.indexOf("\n");
    const line = JSON.parse(this.#rest.slice(0, end));
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  /** The next question, answered so. */
  async answer(how: string): Promise<Line> {
    const { ask, ...question } = await this.line();
    await this.say(`answer ${ask} ${how}`);
    return question;
  }

  [Symbol.dispose](): void {
    if (!this.#closed) this.#connection.close();
    this.#closed = true;
  }
}

/** Says this, and then what it hears. */
function serve(greeting: string, hostname = "127.0.0.1"): Disposable & { readonly port: number } {
  const listener = Deno.listen({ hostname, port: 0 });
  void (async () => {
    for await (const connection of listener) {
      void connection.write(new TextEncoder().encode(greeting))
        .then(() => connection.readable.pipeTo(connection.writable)).catch(() => {});
    }
  })();
  return { port: listener.addr.port, [Symbol.dispose]: () => listener.close() };
}

function test(name: string, body: () => Promise<void>): void {
  Deno.test(`${name}${cc.note}`, { ignore: cc.ignore }, body);
}

const about = ({ hook, plugin, rule }: Line) => [hook, plugin, rule];

test("A connection begins when the hook says so, or elsewhere, or is refused", async () => {
  using server = serve("own ");
  using other = serve("other ");
  using names = await resolver(() => [{ data: GATE.v4 }]);
  await using net = await NetProcess.start(
    "mode open",
    `dns 127.0.0.1 ${names.port}`,
    "hooks connect",
  );
  using program = await Program.of(net, "asks");
  assert.deepEqual(await net.ask("api.test"), { code: 0, records: 1 });
  const [allowed, asked] = await Promise.all([
    net.connect(GATE.v4, server.port),
    program.answer("allow"),
  ]);
  assert.deepEqual(asked, {
    ...{ about: "connect", protocol: "tcp", address: GATE.v4, port: server.port },
    ...{ group: "host", names: ["api.test"] },
  });
  await allowed.until(() => allowed.received === "own ");
  await allowed.say("hello");
  await allowed.until(() => allowed.received === "own hello");
  const [moved] = await Promise.all([
    net.connect("8.8.8.8", 443),
    program.answer(`to ${GATE.v4} ${other.port}`),
  ]);
  await moved.say("there");
  await moved.until(() => moved.received === "other there");
  for (
    const [how, wanted] of [
      ["deny refused my%20plugin", ["refused", "my%20plugin", -1]],
      ["deny failed p", ["failed", "p", -1]],
    ] as const
  ) {
    const [refused] = await Promise.all([net.connect(GATE.v4, server.port), program.answer(how)]);
    assert.equal(refused.state, "refused");
    assert.deepEqual(about(await net.denied()), wanted);
  }
  // What the rules refuse isn't asked about.
  assert.equal((await net.connect("169.254.169.254", 80)).state, "refused");
  assert.deepEqual(about(await net.denied()), [null, null, -1]);
});

test("A datagram waits for the hook, and goes elsewhere by it", async () => {
  const socket = createSocket("udp4", (data, from) => {
    socket.send(data.toString().toUpperCase(), from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  try {
    await using net = await NetProcess.start("mode open", "hooks connect");
    using program = await Program.of(net, "asks");
    const { port } = socket.address();
    for (const [to, how] of [[GATE.v4, "allow"], ["9.9.9.9", `to ${GATE.v4} ${port}`]] as const) {
      const [answer, question] = await Promise.all([
        net.exchange(to, port, "hello"),
        program.answer(how),
      ]);
      assert.equal(answer, "HELLO");
      assert.equal(question.protocol, "udp");
    }
  } finally {
    socket.close();
  }
});

test("Without the program that answers, what it would be asked about is refused", async () => {
  using server = serve("hello");
  await using folder = new TempFolder();
  const path = join(folder.path, "i");
  using _interceptor = Deno.listen({ transport: "unix", path });
  using names = await resolver(() => [{ data: GATE.v4 }]);
  await using net = await NetProcess.start(
    "mode open",
    `dns 127.0.0.1 ${names.port}`,
    `intercept ${path}`,
    "hooks dns request",
  );
  assert.equal((await net.ask("api.test")).code, REFUSED);
  assert.deepEqual(about(await net.denied()), ["gone", null, -1]);
  const connection = await net.connect(GATE.v4, server.port);
  await connection.say("GET / HTTP/1.1\r\nhost: api.test\r\n\r\n");
  await connection.until(() => connection.state === "ended");
  const { domain, ...denied } = await net.denied();
  assert.deepEqual([domain, ...about(denied)], ["api.test", "gone", null, -1]);
  await net.order("hooks connect");
  assert.equal((await net.connect(GATE.v4, server.port)).state, "refused");
  assert.deepEqual(about(await net.denied()), ["gone", null, -1]);
  {
    using program = await Program.of(net, "asks");
    const waiting = net.connect(GATE.v4, server.port);
    assert.equal((await program.line()).about, "connect");
    program[Symbol.dispose]();
    assert.equal((await waiting).state, "refused", "it went while it was asked");
    assert.deepEqual(about(await net.denied()), ["gone", null, -1]);
  }
});

test("The hook of names refuses them, makes their answers, and is held against the rules", async () => {
  using server = serve("hello");
  using names = await resolver((name) => name === "real.test" ? [{ data: GATE.v4 }] : undefined);
  await using net = await NetProcess.start(
    "mode nat",
    `rules allow tcp ${GATE.v4} ${server.port};allow tcp *.test ${server.port}`,
    `dns 127.0.0.1 ${names.port}`,
    "hooks dns",
  );
  using program = await Program.of(net, "asks");
  const ask = async (name: string, how: string, type: "A" | "AAAA" = "A") => {
    const [answer, question] = await Promise.all([net.ask(name, type), program.answer(how)]);
    assert.deepEqual(question, { about: "dns", name, type: type === "A" ? 1 : 28 });
    return answer;
  };
  assert.deepEqual(await ask("real.test", "allow"), { code: 0, records: 1 });
  assert.deepEqual(await ask("real.test", "deny refused p"), { code: REFUSED, records: 0 });
  assert.deepEqual(about(await net.denied()), ["refused", "p", -1]);
  const made = `names 30 93.184.216.34 93.184.216.35 2606:2800:220:1::1`;
  assert.deepEqual(await ask("made.test", made), { code: 0, records: 2 });
  assert.deepEqual(await ask("made.test", made, "AAAA"), { code: 0, records: 1 });
  assert.deepEqual(await ask("none.test", "names 0"), { code: 0, records: 0 });
  assert.deepEqual(await ask("inner.test", "names 30 192.168.1.1"), { code: REFUSED, records: 0 });
  assert.equal((await net.denied()).group, "private");
  // By TCP the same, one after the other.
  const connection = await net.connect(NAME_SERVER, 53);
  const query = (name: string) => {
    const labels = name.split(".").flatMap((l) => [l.length, ...new TextEncoder().encode(l)]);
    const body = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1];
    return Uint8Array.from([0, body.length, ...body]);
  };
  await connection.say(query("made.test"));
  await program.answer("names 30 93.184.216.34");
  await connection.until(() => connection.bytes === 2 + 27 + 16);
  await connection.say(query("made.test"));
  await program.answer("deny refused p");
  await connection.until(() => connection.bytes === 2 * (2 + 27) + 16);
  assert.equal((await net.denied()).domain, "made.test");
});

test("A program that stands still is late, and what it says of nothing is refused", async () => {
  using server = serve("hello");
  await using net = await NetProcess.start("mode open", "hooks connect dns");
  using program = await Program.of(net, "asks");
  using second = await Program.of(net, "asks");
  const [connection, { code }] = await Promise.all([
    net.connect(GATE.v4, server.port),
    net.ask("api.test"),
  ]);
  assert.deepEqual([connection.state, code], ["refused", REFUSED]);
  assert.deepEqual(about(await net.denied()), ["late", null, -1]);
  assert.deepEqual(about(await net.denied()), ["late", null, -1]);
  const { ask } = await program.line();
  for (
    const words of [`${ask}`, `${ask} to 1.2.3.4`, `${ask} deny so p`, `x allow`, `${ask} names x`]
  ) {
    await second.say(`answer ${words}`);
    assert.equal((await second.line()).ok, false, "who isn't asked, answers");
  }
  await program.line();
  await program.say("answer 1 to nowhere 1");
  assert.equal((await program.line()).ok, false);
  await program.say(`answer ${ask} allow`); // it has been given up: nothing happens
  const [allowed] = await Promise.all([net.connect(GATE.v4, server.port), program.answer("allow")]);
  assert.equal(allowed.state, "open");
  program[Symbol.dispose]();
  await net.order("counters"); // by then its end is noticed
  const [next] = await Promise.all([net.connect(GATE.v4, server.port), second.answer("allow")]);
  assert.equal(next.state, "open", "who came later takes its place");
});

test("Conversations are told of with what they carried, where that is asked for", async () => {
  using server = serve("hello ");
  using names = await resolver(() => [{ data: GATE.v4 }]);
  await using net = await NetProcess.start(
    "mode nat",
    `rules deny any 9.9.9.9 any;allow any host any;allow tcp api.test any`,
    `dns 127.0.0.1 ${names.port}`,
    "log on",
  );
  assert.equal((await net.ask("api.test")).code, 0);
  const connection = await net.connect(GATE.v4, server.port);
  await connection.until(() => connection.received === "hello ");
  await connection.say("12345");
  await connection.until(() => connection.received === "hello 12345");
  await connection.end();
  await connection.until(() => connection.state === "ended");
  const { at, boxPort, ...begun } = await net.denied();
  assert(Math.abs(Number(at) - Date.now()) < 60_000);
  const flow = { direction: "out", protocol: "tcp", address: GATE.v4, port: server.port };
  assert.deepEqual(begun, { event: "connected", ...flow, domain: "api.test", rule: 1, lost: 0 });
  const { ms, at: _at, ...over } = await net.denied();
  assert(Number(ms) >= 0);
  assert.deepEqual(over, {
    ...{ event: "closed", ...flow, boxPort, domain: "api.test", rule: 1, lost: 0 },
    ...{ sentBytes: 5, receivedBytes: 11 },
  });
});

test("A conversation that goes on behind a false end is told of as one more", async () => {
  using server = serve("hello ");
  await using net = await NetProcess.start("mode open", "log on");
  const connection = await net.connect(GATE.v4, server.port);
  await connection.say("12345");
  await connection.until(() => connection.received === "hello 12345");
  await connection.feign();
  await connection.say("678");
  await connection.until(() => connection.received === "hello 12345678");
  await connection.end();
  await connection.until(() => connection.state === "ended");
  const told = (await net.told()).map((each) => [each.event, each.sentBytes, each.receivedBytes]);
  assert.deepEqual(told, [
    ["connected", undefined, undefined],
    ["closed", 5, 11],
    ["connected", undefined, undefined],
    ["closed", 3, 3],
  ]);
});

test("What nobody listens to is kept for the next one, who comes first is told alone", async () => {
  await using net = await NetProcess.startUnheard("mode nat");
  for (const port of [1, 2]) assert.equal((await net.connect("10.1.1.1", port)).state, "refused");
  using first = await Program.of(net, "events");
  assert.deepEqual([(await first.line()).port, (await first.line()).port], [1, 2]);
  using second = await Program.of(net, "events");
  await net.connect("10.1.1.1", 3);
  assert.equal((await first.line()).port, 3);
  first[Symbol.dispose]();
  // It is noticed in the same turn, or in the next.
  await net.order("counters");
  await net.connect("10.1.1.1", 4);
  assert.equal((await second.line()).port, 4);
});

/** An address of this machine's that isn't its loopback. */
const own6 = Deno.networkInterfaces().find(({ family, address }) =>
  family === "IPv6" && address !== "::1" && !address.startsWith("fe80:")
)?.address;

Deno.test(`Echoes by IPv6 go out and come back${cc.note}`, {
  ignore: cc.ignore || own6 === undefined || Deno.uid() !== 0,
}, async () => {
  await using net = await NetProcess.start(`mode open`, "log on");
  for (const text of ["hello", "x".repeat(2_000)]) {
    const echoed = await net.echo(own6 ?? "", text);
    assert.equal(echoed?.got, echoed?.sent);
    assert.equal((await net.denied()).protocol, "icmp");
  }
  await net.order("mode nat");
  assert.equal(await net.echo(own6 ?? "", "hello"), undefined);
  assert.deepEqual((await net.denied()).event, "denied");
});
