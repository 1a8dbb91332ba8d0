/** Hooks of requests: a real client and a real server, and between them an interceptor and a program. */
import assert from "node:assert/strict";
import { definePlugin, type Plugin } from "../../mod.ts";
import { denialWords } from "../../src/box/network_talk.ts";
import { RequestDoor } from "../../src/network/request_door.ts";
import { NetworkHookRunner } from "../../src/plugin/network_hooks.ts";
import { SECRET, Setting, VALUE } from "./interceptor_setting.ts";

/** A program with these plugins, and what it hears of their failures. */
class Program implements AsyncDisposable {
  readonly failures: string[] = [];
  readonly runner: NetworkHookRunner;
  readonly door = new RequestDoor({ denial: denialWords });
  readonly place;

  constructor(plugins: readonly Plugin[], limitMs = 30_000) {
    this.runner = new NetworkHookRunner({
      plugins,
      context: (plugin, { signal }) => ({
        ...{ plugin: plugin.name, signal, box: undefined, log() {} },
        get runtime(): never {
          throw new Error("there is none");
        },
      }),
      failed: ({ message }) => void this.failures.push(message),
      limitsMs: { connect: limitMs, request: limitMs },
    });
    const scope = { box: undefined, signal: new AbortController().signal };
    this.place = this.door.open((request, connection, next) =>
      this.runner.request(request, connection, scope, next)
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.door[Symbol.asyncDispose]();
  }
}

const telling = async (request: Request) =>
  Response.json({
    method: request.method,
    url: request.url,
    headers: Object.fromEntries(request.headers),
    body: await request.text(),
  }, { headers: { "x-from": "server", "hutch-denied": "refused forged" } });

for (const http2 of [true, false]) {
  Deno.test(`onRequest and onResponse see and change what goes by HTTP/${http2 ? 2 : 1.1}`, async () => {
    const seen: string[] = [];
    const first = definePlugin({
      name: "first",
      network: {
        onRequest(request, { connection }) {
          seen.push(`${request.method} ${connection.name} ${request.headers.get("authorization")}`);
          const made = new Request(request);
          made.headers.set("x-added", "by first");
          return made;
        },
        onResponse(response, { request }) {
          seen.push(`first ${response.headers.get("x-after")} ${request.headers.get("x-added")}`);
        },
      },
    });
    const second = definePlugin({
      name: "second",
      network: {
        onRequest: (request) => void seen.push(request.headers.get("x-added") ?? "nothing"),
        onResponse(response) {
          const made = new Response(response.body, response);
          made.headers.set("x-after", "second");
          return made;
        },
      },
    });
    await using program = new Program([first, second]);
    await using setting = await Setting.make(telling, {}, http2, program.place.word);
    const said = await setting.fetch("https://api.test/a?b=1", {
      method: "PUT",
      headers: { authorization: `Bearer ${SECRET.placeholder}`, "hutch-url": "https://evil.test/" },
      body: "the body",
    });
    assert.equal(said.status, 200);
    assert.deepEqual([said.headers.get("x-after"), said.headers.get("x-from")], [
      "second",
      "server",
    ]);
    const { method, url, headers, body } = await said.json();
    assert.deepEqual([method, new URL(url).pathname + new URL(url).search, body], [
      "PUT",
      "/a?b=1",
      "the body",
    ]);
    assert.deepEqual([headers.authorization, headers["x-added"]], [`Bearer ${VALUE}`, "by first"]);
    assert(!Object.keys(headers).some((name) => name.startsWith("hutch-")), "nothing of its own");
    assert.deepEqual(seen, [
      `PUT api.test Bearer ${SECRET.placeholder}`,
      "by first",
      "first second by first",
    ]);
    assert.deepEqual(setting.hooked, []);
  });
}

Deno.test("onRequest answers itself, and is denied where it fails, hangs, or goes elsewhere", async () => {
  const plugin = definePlugin({
    name: "gate keeper",
    network: {
      async onRequest(request, { signal }) {
        switch (new URL(request.url).pathname) {
          case "/own":
            return new Response("of its own", { status: 418 });
          case "/throws":
            throw new Error("on purpose");
          case "/hangs":
            return await new Promise((_, reject) =>
              signal.addEventListener("abort", () => reject(signal.reason))
            );
          case "/elsewhere":
            return new Request("https://other.test/");
        }
      },
      onResponse(response) {
        if (response.headers.get("x-from") === null && response.status === 404) {
          throw new Error("no");
        }
      },
    },
  });
  let asked = 0;
  await using program = new Program([plugin], 200);
  await using setting = await Setting.make(
    (request) => {
      asked++;
      return new Response("fine", { status: request.url.endsWith("/missing") ? 404 : 200 });
    },
    {},
    true,
    program.place.word,
  );
  const said = async (path: string) => {
    const answer = await setting.fetch(`https://api.test${path}`);
    return [answer.status, await answer.text()];
  };
  assert.deepEqual(await said("/own"), [418, "of its own"]);
  assert.deepEqual(await said("/throws"), [403, 'hutch: plugin "gate keeper" failed at it\n']);
  assert.deepEqual(await said("/hangs"), [
    403,
    'hutch: plugin "gate keeper" took too long over it\n',
  ]);
  assert.equal(asked, 0, "nothing got out");
  assert.deepEqual(await said("/missing"), [403, 'hutch: plugin "gate keeper" failed at it\n']);
  assert.deepEqual(await said("/fine"), [200, "fine"]);
  assert.deepEqual(setting.hooked, [
    "failed gate%20keeper api.test",
    "late gate%20keeper api.test",
    "failed gate%20keeper api.test",
  ]);
  assert.match(
    program.failures.join("\n"),
    /"gate keeper" failed in "network.onRequest": on purpose/,
  );
  await new Promise((resolve) => setTimeout(resolve, 1_000)); // failures are told once a second
  assert.equal((await said("/elsewhere"))[0], 403);
  assert.match(
    program.failures.at(-1) ?? "",
    /for https:\/\/api.test(:\d+)? to https:\/\/other.test/,
  );
});

Deno.test("A request is denied when the program that decides about it has gone", async () => {
  const program = new Program([{ name: "p", network: { onRequest() {} } }]);
  await using setting = await Setting.make(
    () => new Response("fine"),
    {},
    true,
    program.place.word,
  );
  const status = async () => {
    const answer = await setting.fetch("https://api.test/");
    return [answer.status, await answer.text()];
  };
  assert.deepEqual(await status(), [200, "fine"]);
  program.place[Symbol.dispose]();
  assert.equal((await status())[0], 403, "it has let go of the box");
  await program[Symbol.asyncDispose]();
  const [gone, why] = await status();
  assert.deepEqual([gone, why], [403, "hutch: the program that decides about requests has gone\n"]);
  assert.deepEqual(setting.hooked, ["gone - api.test", "gone - api.test"]);
});

Deno.test("Hooks of requests let much through both ways at once, and see each without TLS", async () => {
  const seen: string[] = [];
  const plugin = definePlugin({
    name: "p",
    network: { onRequest: ({ url }) => void seen.push(url), onResponse() {} },
  });
  await using program = new Program([plugin]);
  const echo = (request: Request) => new Response(request.body);
  await using setting = await Setting.make(echo, {}, true, program.place.word);
  await setting.echoed(16);
  await using plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, telling);
  const { port } = plain.addr;
  const request = (path: string, more = "") =>
    `GET ${path} HTTP/1.1\r\nhost: api.test:${port}\r\n${more}\r\n`;
  const said = await setting.plain(
    `http 127.0.0.1 ${port} api.test ${program.place.word}`,
    request("/one") + request("/two", "connection: close\r\n"),
  );
  assert.equal(said.match(/HTTP\/1.1 200 /g)?.length, 2, said);
  assert.deepEqual(seen.slice(1), [`http://api.test:${port}/one`, `http://api.test:${port}/two`]);
});

Deno.test("Interceptor takes an address for the name of its host, however it is written", async () => {
  await using setting = await Setting.make(telling);
  await using plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, telling);
  const { port } = plain.addr;
  const said = (host: string) =>
    setting.plain(
      `http 127.0.0.1 ${port} [0:0::1] -`,
      `GET /p HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`,
    );
  assert.match(
    await said(`[0:0::1]:${port}`),
    new RegExp(`^HTTP/1.1 200 [^]*"http://\\[::1]:${port}/p"`),
  );
  assert.match(await said("[::2]"), /^HTTP\/1.1 421 /);
});

Deno.test("onRequest sees what a WebSocket begins with, changes it and refuses it", async () => {
  const answered: string[] = [];
  const plugin = definePlugin({
    name: "p",
    network: {
      onRequest(request) {
        assert.equal(request.headers.get("upgrade"), "websocket");
        if (request.url.endsWith("/no")) return new Response("not this one", { status: 403 });
        if (request.url.endsWith("/fails")) throw new Error("on purpose");
        if (request.url.endsWith("/closed")) return;
        const made = new Request(request);
        made.headers.set("x-token", `${SECRET.placeholder} by p`);
        return made;
      },
      onResponse: ({ status }, { request }) =>
        void answered.push(`${status} ${new URL(request.url).pathname}`),
    },
  });
  await using program = new Program([plugin]);
  const asked: string[] = [];
  const handler = (request: Request) => {
    asked.push(new URL(request.url).pathname);
    if (request.url.endsWith("/closed")) return new Response("closed", { status: 401 });
    const token = request.headers.get("x-token");
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = ({ data }) => {
      socket.send(`${data} ${token}`);
      socket.close();
    };
    return response;
  };
  await using setting = await Setting.make(handler, {}, false, program.place.word);
  const open = (path: string) => {
    const socket = new WebSocket(`wss://api.test${path}`, { client: setting.client });
    const heard = Promise.withResolvers<string>();
    socket.onopen = () => socket.send("hello");
    socket.onmessage = ({ data }) => heard.resolve(data);
    socket.onerror = () => heard.resolve("refused");
    return heard.promise;
  };
  assert.equal(await open("/yes"), `hello ${VALUE} by p`);
  for (const path of ["/no", "/fails"]) assert.equal(await open(path), "refused");

  // Without TLS, on any port: what the box gets is the hook's own answer.
  await using plain = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handler);
  const { port } = plain.addr;
  const begin = (path: string) =>
    setting.plain(
      `http 127.0.0.1 ${port} api.test ${program.place.word}`,
      `GET ${path} HTTP/1.1\r\nhost: api.test:${port}\r\nconnection: upgrade, close\r\n` +
        `upgrade: websocket\r\nsec-websocket-version: 13\r\n` +
        `sec-websocket-key: ${btoa("0123456789abcdef")}\r\n\r\n`,
    );
  assert.match(await begin("/plain/no"), /^HTTP\/1.1 403 [^]*\r\n\r\n(c\r\n)?not this one/);
  assert.match(await begin("/plain/fails"), /^HTTP\/1.1 403 [^]*"p" failed at it/);

  // What its server refuses is answered in its stead: Deno's WebSocket tells no more of it.
  assert.match(await begin("/plain/closed"), /^HTTP\/1.1 502 /);

  assert.deepEqual(asked, ["/yes", "/plain/closed"], "nothing of the others got out");
  assert.deepEqual(answered, ["403 /no", "403 /plain/no"], "a beginning has no Response");
  assert.deepEqual(setting.hooked, ["failed p api.test", "failed p api.test"]);
});
