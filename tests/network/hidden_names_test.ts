/** What hides its name from rules and hooks, with a `hutch-net` under sanitizers whose guest is the test. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { TempFolder } from "../support/temp.ts";
import { needs } from "../support/tools.ts";
import { hello } from "./hello.ts";
import { type GuestConnection, NetProcess } from "./net_process.ts";
import { resolver } from "./resolver.ts";

const cc = needs("cc");
const GATE = "10.213.77.1";

type Bytes = Uint8Array<ArrayBuffer>;

/** Of a text whose characters are its bytes. */
const bytesOf = (text: string): Bytes => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** Hears all, and says how much that was by as many dots. */
class Server implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly port = this.#listener.addr.port;
  /** Bytes of all connections. */
  heard = 0;

  constructor() {
    void (async () => {
      for await (const connection of this.#listener) {
        void this.#talk(connection).catch(() => {});
      }
    })();
  }

  async #talk(connection: Deno.TcpConn): Promise<void> {
    using _ = connection;
    const buffer = new Uint8Array(65_536);
    for (let n; (n = await connection.read(buffer)) !== null;) {
      this.heard += n;
      await connection.write(bytesOf(".".repeat(n)));
    }
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

const isOver = ({ state }: GuestConnection) => state === "reset" || state === "ended";
const head = (first: string) => `${first}\r\nHost: evil.test\r\n\r\n`;

/** Without TLS: no name, or one that servers may read and hutch-net doesn't. */
const HIDDEN: readonly (readonly [string, string])[] = [
  ["a request without a name", "GET / HTTP/1.0\r\n\r\n"],
  ["a tab behind the method", head("GET\t/ HTTP/1.1")],
  ["a form feed behind the method", head("get\f/ http/1.1")],
  ["a carriage return behind the method", head("GET\r/ HTTP/1.1")],
  ["a wide space behind the method", head("GET\xa0/ HTTP/1.1")],
  ["a space before the method", head(" GET / HTTP/1.1")],
  ["a tab before the method", head("\tPOST / HTTP/1.1")],
  ["a separator before the method", head("\x1cGET / HTTP/1.1")],
  ["a line with a space before the method", head(" \r\nGET / HTTP/1.1")],
  ["lines before a space and the method", head("\r\n\r\n GET / HTTP/1.1")],
  ["no version", head("PROPFIND /x")],
  ["no version behind a tab", head("GET\t/x")],
  ["a tab within", head("GET /\thttp://evil.test/ HTTP/1.1")],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
];

/** What TLS servers may read, by TLS and what came before it. */
const HELLOS: readonly (readonly [string, Bytes])[] = [
  ["a hello without a name", hello(undefined)],
  ["a record of version 2.0", hello("evil.test", [], [2, 0])],
  ["a record of version 0.0", hello("evil.test", [], [0, 0])],
  ["a hello of SSL 2 for TLS", bytesOf("\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10")],
  ["a hello of SSL 2", bytesOf("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10")],
];

/** Protocols that say no name. */
const OTHERS: readonly (readonly [string, string])[] = [
  ["SMTP", "EHLO there\r\n"],
  ["a single word", "QUIT\r\n"],
  ["SSH", "SSH-2.0-OpenSSH_9.6 Debian\r\n"],
  ["Redis", "*1\r\n$4\r\nPING\r\n"],
  ["Gopher's search", "find\tthis\r\n"],
  ["a line that begins with spaces", "  hello there\r\n"],
  ["LDAP", "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"],
  ["MySQL", "\x20\x00\x00\x01\x85\xae\x7f\x00"],
  ["PostgreSQL", "\x00\x00\x00\x08\x04\xd2\x16\x2f"],
  ["Telnet", "\xff\xfd\x01"],
  ["MessagePack", "\x94\x00\x01\xa4ping\x90"],
  ["RTSP", "OPTIONS rtsp://evil.test/a RTSP/1.0\r\nCSeq: 1\r\n\r\n"],
  ["SIP", "OPTIONS sip:a@evil.test SIP/2.0\r\n\r\n"],
  ["NATS", 'CONNECT {"verbose":false}\r\n'],
];

function test(name: string, body: () => Promise<void>): void {
  Deno.test(`${name}${cc.note}`, { ignore: cc.ignore }, body);
}

const denials = async (net: NetProcess) =>
  (await net.order("counters") as { counters: { denied: number } }).counters.denied;

/** Says it in pieces of a size, and sees that it goes nowhere, and that this is told of. */
async function isRefused(
  net: NetProcess,
  port: number,
  { what, bytes, piece }: { readonly what: string; readonly bytes: Bytes; readonly piece: number },
): Promise<void> {
  const before = await denials(net);
  const connection = await net.connect(GATE, port);
  for (let at = 0; at < bytes.length && !isOver(connection); at += piece) {
    await connection.say(bytes.slice(at, at + piece));
  }
  await connection.until(() => isOver(connection) || connection.received !== "");
  assert.equal(connection.received, "", `${what}: it went on`);
  assert.equal(await denials(net), before + 1, `${what}: it was denied`);
}

async function goesOn(net: NetProcess, server: Server, what: string, bytes: Bytes): Promise<void> {
  const connection = await net.connect(GATE, server.port);
  await connection.say(bytes);
  await connection.until(() => connection.bytes === bytes.length || isOver(connection));
  assert.equal(connection.received.length, bytes.length, `${what}: it goes on`);
  await connection.end();
  await connection.until(() => isOver(connection));
}

const MODES = [
  ["that is denied", "rules deny any evil.test any"],
  ["that alone is allowed", "rules allow tcp api.test any;deny any any any"],
  ["that is allowed, as all is", "rules allow tcp api.test any"],
] as const;

for (const [which, rules] of MODES) {
  test(`What hides its name goes nowhere beside a name ${which}`, async () => {
    using server = new Server();
    using names = await resolver(() => [{ data: GATE }]);
    await using net = await NetProcess.start("mode open", rules, `dns 127.0.0.1 ${names.port}`);
    assert.equal((await net.ask("api.test")).code, 0);
    const all = [...HIDDEN.map(([what, text]) => [what, bytesOf(text)] as const), ...HELLOS];
    for (const [what, bytes] of all) {
      for (const piece of [1, 1_000]) await isRefused(net, server.port, { what, bytes, piece });
    }
    assert.equal(server.heard, 0, "nothing got out");
    for (const [what, text] of OTHERS) await goesOn(net, server, what, bytesOf(text));
  });
}

test("A connection's end is that of its first line", async () => {
  using server = new Server();
  await using net = await NetProcess.start("mode open", "rules deny any evil.test any");
  for (
    const [text, fine] of [["ruok", true], [" \n", true], ["GET /", false], [
      "\x16",
      false,
    ]] as const
  ) {
    const before = await denials(net);
    const heard = server.heard;
    const connection = await net.connect(GATE, server.port);
    await connection.say(text);
    await connection.end();
    await connection.until(() => isOver(connection));
    assert.equal(await denials(net) - before, fine ? 0 : 1, text);
    assert.equal(server.heard - heard, fine ? text.length : 0, text);
  }
});

/** Gives back the line before a connection. */
async function sayLine(connection: Deno.UnixConn): Promise<void> {
  using _ = connection;
  const said = new TextDecoder().decode(await readSome(connection));
  await connection.write(bytesOf(`${said.split("\n")[0]}\n`));
  await readSome(connection);
}

async function readSome(connection: Deno.UnixConn): Promise<Bytes> {
  const buffer = new Uint8Array(4096);
  return buffer.slice(0, await connection.read(buffer) ?? 0);
}

/** A box whose requests a program decides about, behind an interceptor that says where they go. */
async function hooked(hosts: string) {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(new TempFolder());
  const path = join(folder.path, "i");
  const interceptor = stack.use(Deno.listen({ transport: "unix", path }));
  void (async () => {
    for await (const connection of interceptor) void sayLine(connection).catch(() => {});
  })();
  const server = stack.use(new Server());
  const net = stack.use(
    await NetProcess.start("mode open", `intercept ${path} ${hosts}`.trim(), "hooks request"),
  );
  const door = stack.use(await Deno.connect({ transport: "unix", path: net.controlPath }));
  await door.write(bytesOf("asks 1-door\n"));
  await readSome(door);
  const kept = stack.move();
  return { server, net, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

test("What says no name isn't kept from the hooks of requests by that", async () => {
  await using scene = await hooked("");
  const { server, net } = scene;
  for (const [what, text] of HIDDEN) {
    await isRefused(net, server.port, { what, bytes: bytesOf(text), piece: 1_000 });
  }
  const secure = [...HELLOS, ["another protocol", bytesOf("EHLO there\r\n")] as const];
  for (const [what, bytes] of secure) await isRefused(net, 443, { what, bytes, piece: 1_000 });
  assert.equal(server.heard, 0, "nothing got out");
  for (const [what, text] of OTHERS) await goesOn(net, server, what, bytesOf(text));
  await goesOn(net, server, "TLS on another port, where no host is named", hello(undefined));
});

test("TLS without a name is refused on all ports while hooks name hosts", async () => {
  await using scene = await hooked("api.test");
  const { server, net } = scene;
  for (const [what, bytes] of HELLOS) {
    await isRefused(net, server.port, { what, bytes, piece: 1_000 });
  }
  assert.equal(server.heard, 0, "nothing got out");
  await goesOn(net, server, "TLS for another host", hello("other.test"));
});

test("A request for an address goes to the hooks by that", async () => {
  await using scene = await hooked("");
  const { server, net } = scene;
  for (const [host, name] of [["[::1]:80", "[::1]"], ["[FD00::a]", "[fd00::a]"], [GATE, GATE]]) {
    const connection = await net.connect(GATE, server.port);
    await connection.say(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await connection.until(() => /[.\n]/.test(connection.received) || isOver(connection));
    assert.equal(connection.received, `http ${GATE} ${server.port} ${name} 1-door\n`);
  }
  for (const host of ["[::1", "[1.2.3.4]", "[::1]x", "[]", "[fe80::1%1]"]) {
    const bytes = bytesOf(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await isRefused(net, server.port, { what: host, bytes, piece: 1_000 });
  }
  await net.order("hooked failed p 10.0.0.1 80 [::1]");
});
