import assert from "node:assert/strict";
import { formatPort, parsePort, parsePorts } from "../../src/network/ports.ts";

const good: readonly (readonly [string, readonly string[]])[] = [
  ["80", ["127.0.0.1:0->80/tcp"]],
  ["8080:80", ["127.0.0.1:8080->80/tcp"]],
  ["8080:80/udp", ["127.0.0.1:8080->80/udp"]],
  [":80", ["127.0.0.1:0->80/tcp"]],
  ["0:80", ["127.0.0.1:0->80/tcp"]],
  ["0.0.0.0:8080:80", ["0.0.0.0:8080->80/tcp"]],
  ["192.0.2.1::53/udp", ["192.0.2.1:0->53/udp"]],
  ["[::1]:8080:80", ["[::1]:8080->80/tcp"]],
  ["[::]::80", ["[::]:0->80/tcp"]],
  ["80-81", ["127.0.0.1:0->80/tcp", "127.0.0.1:0->81/tcp"]],
  ["8000-8001:80-81", ["127.0.0.1:8000->80/tcp", "127.0.0.1:8001->81/tcp"]],
  ["65535:65535", ["127.0.0.1:65535->65535/tcp"]],
];

for (const [spec, ports] of good) {
  Deno.test(`parsePort reads ${spec}`, () =>
    assert.deepEqual(parsePort(spec).map(formatPort), ports));
}

for (
  const [spec, why] of [
    ["", /"" is no port from 1/],
    ["0", /"0" is no port from 1/],
    ["65536", /"65536" is no port/],
    ["x:80", /"x" is no port from 0/],
    ["-1:80", /"-1" is no port/],
    ["8080:80/sctp", /protocol is "sctp"/],
    ["8080:80/", /protocol is ""/],
    ["localhost:8080:80", /"localhost" is no IP address/],
    ["::1:8080:80", /too many parts/],
    ["[::1]:1:2:3", /too many parts/],
    ["8000-8002:80-81", /3 ports here and 2 in the box/],
    ["8000-8002:80", /3 ports here and 1 in the box/],
    ["81-80", /range of no ports/],
    ["1-60000", /more than 1000/],
    ["80 ", /"80 " is no port/],
  ] as const
) {
  Deno.test(`parsePort refuses ${JSON.stringify(spec)}`, () => {
    assert.throws(() => parsePort(spec), { code: "invalid_option", message: why });
  });
}

Deno.test("parsePorts refuses a port of this machine that is there twice, unless the system picks it", () => {
  assert.equal(parsePorts(["80", "80", "53:53/udp", "53:53/tcp"]).length, 4);
  assert.throws(() => parsePorts(["8080:80", "8079-8080:1-2"]), {
    message: "Cannot publish 127.0.0.1:8080/tcp: it is there twice",
  });
  assert.throws(() => parsePorts(["1-900", "1-101"]), { message: /1001 ports/ });
});
