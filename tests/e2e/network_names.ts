/** Boxes that reach names alone, for the tests of networks. */
import assert from "node:assert/strict";
import type { Box, HutchEvent, Runtime } from "../../mod.ts";
import { fakeResolver, type HostServer, LONG } from "./network_peers.ts";
import { BOX, until } from "./support.ts";

const GATEWAY = "10.213.77.1";

/** What {@link reachesNamesAlone} needs of its test. */
export interface NamesStage {
  readonly runtime: Runtime;
  readonly host: HostServer;
  readonly events: readonly HutchEvent[];
  readonly volumes: readonly string[];
}

/** A box with `allowNet`: by its name, only with that name in its first bytes, and nothing else. */
export async function reachesNamesAlone(
  { runtime, host, events, volumes }: NamesStage,
): Promise<void> {
  using resolver = await fakeResolver({ "api.test": GATEWAY, "other.test": GATEWAY });
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    return new Response(`for ${request.headers.get("host")}`);
  });
  try {
    const web = server.addr.port;
    await using box = await runtime.create({
      ...{ ...BOX, name: "names", network: "open", volumes },
      allowNet: [`api.test:${host.port}`, `api.test:${host.sink}`, `*.test:${web}`],
      denyNet: ["other.test"],
      dns: [`127.0.0.1:${resolver.port}`],
    });
    const early = await box.exec("/guest/net_guest", ["get", GATEWAY, `${host.port}`]);
    assert.match(early.stdout, /^connect: Connection refused/, "before its name was asked for");
    const page = await box.exec("wget", ["-qO-", `http://api.test:${web}/`]);
    assert.equal(page.stdout, `for api.test:${web}`);
    const hidden = ["--header", "Host: other.test", `http://api.test:${web}/`];
    assert.notEqual((await box.exec("wget", ["-qO-", ...hidden])).code, 0);
    assert.notEqual((await box.exec("wget", ["-qO-", `http://${GATEWAY}:${web}/`])).code, 0);
    assert.match(await unknown(box, "other.test"), /REFUSED/);
    assert.match(await unknown(box, "secret.tunnel.example"), /REFUSED/);
    const get = await box.exec("/guest/net_guest", ["get", GATEWAY, `${host.port}`]);
    assert.equal(get.stdout.trim(), String(LONG), "what speaks first");
    const put = await box.exec("/guest/net_guest", ["put", GATEWAY, `${host.sink}`, `${LONG}`]);
    assert.equal(put.stdout.trim(), String(LONG), "much, by a protocol without names");
    const told = (what: string) =>
      events.some((event) =>
        event.type === "network.denied" && event.name === "names" &&
        `${event.protocol} ${event.domain} ${event.rule}` === what
      );
    for (const what of ["tcp other.test 0", "dns other.test 0", "dns secret.tunnel.example 4"]) {
      await until(
        () => Promise.resolve(told(what)),
        () => Promise.resolve(`there is no event "${what}": ${JSON.stringify(events)}`),
      );
    }
  } finally {
    await server.shutdown();
  }
}

async function unknown(box: Box, name: string): Promise<string> {
  const { stdout, stderr } = await box.exec("nslookup", ["-type=a", name]);
  return stdout + stderr;
}
