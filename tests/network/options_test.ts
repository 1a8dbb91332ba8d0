import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as addresses from "../../src/network/addresses.ts";
import {
  hostsLines,
  networkConfig,
  type NetworkOptions,
  NO_NETWORK,
  parseServer,
} from "../../src/network/options.ts";

Deno.test("networkConfig fills in the defaults", () => {
  assert.deepEqual(networkConfig({}), { ...NO_NETWORK, mode: "nat" });
  assert.deepEqual(networkConfig({ network: "none" }), NO_NETWORK);
});

Deno.test("networkConfig keeps what was asked for", () => {
  const config = networkConfig({
    network: "open",
    ports: ["8080:80"],
    dns: ["127.0.0.1:5353"],
    extraHosts: { db: "10.0.0.1" },
    bandwidth: { send: 1_000_000 },
    logConnections: true,
  });
  assert.deepEqual(config, {
    mode: "open",
    rules: [],
    secrets: [],
    hooks: { kinds: [], hosts: [] },
    logConnections: true,
    ports: [{ hostIp: "127.0.0.1", hostPort: 8080, guestPort: 80, protocol: "tcp" }],
    dns: ["127.0.0.1:5353"],
    extraHosts: { db: "10.0.0.1" },
    bandwidth: { send: 1_000_000, receive: null },
  });
});

const bad: readonly (readonly [NetworkOptions, RegExp])[] = [
  [JSON.parse('{"network":"bridge"}'), /"bridge": there is no such mode/],
  [{ network: "none", ports: ["80"] }, /without a network/],
  [{ network: "none", denyNet: ["public"] }, /without a network/],
  [{ dns: ["example.org"] }, /"example.org": it is no IP address/],
  [{ dns: ["127.0.0.1:70000"] }, /no IP address/],
  [{ dns: Array.from({ length: 9 }, () => "127.0.0.1") }, /8 is the most/],
  [{ extraHosts: { "a b": "10.0.0.1" } }, /"a b": it is no host name/],
  [{ extraHosts: { a: "10.0.0.1\nevil" } }, /is no IP address/],
  [{ bandwidth: { send: 0 } }, /send to 0 bits/],
  [{ bandwidth: { receive: 1.5e9 + 0.5 } }, /receive to/],
];

for (const [options, message] of bad) {
  Deno.test(`networkConfig refuses ${JSON.stringify(options).slice(0, 60)}`, () => {
    assert.throws(() => networkConfig(options), { code: "invalid_option", message });
  });
}

Deno.test("parseServer reads addresses with and without ports", () => {
  assert.deepEqual(parseServer("1.1.1.1"), { address: "1.1.1.1", port: 53 });
  assert.deepEqual(parseServer("::1"), { address: "::1", port: 53 });
  assert.deepEqual(parseServer("[::1]:5353"), { address: "::1", port: 5353 });
  assert.deepEqual(parseServer("127.0.0.1:5353"), { address: "127.0.0.1", port: 5353 });
});

Deno.test("hostsLines knows this machine by the gateway's address", () => {
  assert.deepEqual(hostsLines({ a: "10.0.0.1", b: "host-gateway" }), [
    "10.0.0.1\ta",
    `${addresses.GATEWAYS[0]}\tb`,
  ]);
});

Deno.test("The addresses are those of ffi/net/filter.h and stack.h", () => {
  const folder = fileURLToPath(new URL("../../ffi/net/", import.meta.url));
  const filter = Deno.readTextFileSync(join(folder, "filter.h"));
  const value = (name: string) => new RegExp(`#define ${name} (.*)`).exec(filter)?.[1] ?? "";
  const text = (name: string) => value(name).replaceAll('"', "");
  assert.deepEqual(addresses.GUEST_ADDRESSES, [
    `${text("GUEST_V4")}/${text("NET_V4_BITS")}`,
    `${text("GUEST_V6")}/${text("NET_V6_BITS")}`,
  ]);
  assert.deepEqual(addresses.GATEWAYS, [text("GATEWAY_V4"), text("GATEWAY_V6")]);
  assert.equal(addresses.NAME_SERVER, text("DNS_V4"));
  const stack = Deno.readTextFileSync(join(folder, "stack.h"));
  assert.equal(addresses.MTU, Number(/STACK_MTU = (\d+)/.exec(stack)?.[1]));
});
