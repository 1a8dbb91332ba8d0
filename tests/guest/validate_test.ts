import assert from "node:assert/strict";
import { encodeCbor } from "../../src/deps.ts";
import { HutchError } from "../../src/errors.ts";
import {
  plainText,
  readConfigureReply,
  readEmptyReply,
  readExecReply,
  readExit,
  readFailure,
  readGoodbye,
  readHello,
} from "../../src/guest/validate.ts";
import { fc } from "../deps.ts";

const hello = { protocol: 1, agent: "a", kernel: "6.12", bootMs: 12.5 };
const failure = { kind: "not_found", errno: 2, message: "execve" };

const good: readonly [string, (payload: Uint8Array) => unknown, unknown, unknown][] = [
  ["readHello takes a hello", readHello, hello, hello],
  ["readHello takes fields that it doesn't know", readHello, { ...hello, more: 1 }, hello],
  ["readExecReply takes a pid", readExecReply, { pid: 7 }, { pid: 7 }],
  ["readConfigureReply takes a time", readConfigureReply, { ms: 3 }, { ms: 3 }],
  ["readEmptyReply takes an empty map", readEmptyReply, {}, {}],
  ["readExit takes a code", readExit, { code: 255, signal: null, timedOut: false }, {
    code: 255,
    signal: null,
    timedOut: false,
  }],
  ["readExit takes a signal", readExit, {
    code: null,
    signal: "SIGRTMIN+3",
    timedOut: true,
  }, {
    code: null,
    signal: "SIGRTMIN+3",
    timedOut: true,
  }],
  ["readFailure takes a failure", readFailure, failure, failure],
  ["readGoodbye takes a goodbye", readGoodbye, { reason: "lost", message: "m" }, {
    reason: "lost",
    message: "m",
  }],
  ["readGoodbye takes one without a message", readGoodbye, { reason: "shutdown" }, {
    reason: "shutdown",
    message: "",
  }],
];
for (const [name, read, value, expected] of good) {
  Deno.test(name, () => assert.deepEqual(read(encodeCbor(value)), expected));
}

const bad: readonly [string, (payload: Uint8Array) => unknown, unknown][] = [
  ["readHello refuses a text as protocol", readHello, { ...hello, protocol: "1" }],
  ["readHello refuses a fraction as protocol", readHello, { ...hello, protocol: 1.5 }],
  ["readHello refuses a missing kernel", readHello, { protocol: 1, agent: "a", bootMs: 1 }],
  ["readHello refuses NaN as time", readHello, { ...hello, bootMs: NaN }],
  ["readHello refuses an endless time", readHello, { ...hello, bootMs: Infinity }],
  ["readHello refuses an array", readHello, [1, 2]],
  ["readExecReply refuses pid 0", readExecReply, { pid: 0 }],
  ["readExecReply refuses a big pid", readExecReply, { pid: 2 ** 40 }],
  ["readConfigureReply refuses a negative time", readConfigureReply, { ms: -1 }],
  ["readEmptyReply refuses a number", readEmptyReply, 5],
  ["readExit refuses code 256", readExit, { code: 256, signal: null, timedOut: false }],
  ["readExit refuses code -1", readExit, { code: -1, signal: null, timedOut: false }],
  ["readExit refuses both", readExit, { code: 0, signal: "SIGKILL", timedOut: false }],
  ["readExit refuses neither", readExit, { code: null, signal: null, timedOut: false }],
  ["readExit refuses a missing timedOut", readExit, { code: 0, signal: null }],
  ["readExit refuses a number as timedOut", readExit, { code: 0, signal: null, timedOut: 1 }],
  ["readExit refuses a signal that is none", readExit, {
    code: null,
    signal: "\u001b[2J",
    timedOut: false,
  }],
  ["readFailure refuses an unknown kind", readFailure, { ...failure, kind: "constructor" }],
  ["readFailure refuses a negative errno", readFailure, { ...failure, errno: -2 }],
  ["readFailure refuses a missing message", readFailure, { kind: "failed", errno: 0 }],
  ["readGoodbye refuses an unknown reason", readGoodbye, { reason: "bored" }],
];
for (const [name, read, value] of bad) {
  Deno.test(name, () =>
    assert.throws(
      () => read(encodeCbor(value)),
      (error) => error instanceof HutchError && error.code === "agent_protocol",
    ));
}

const hostile: readonly [string, Uint8Array][] = [
  ["nothing", new Uint8Array(0)],
  ["deep nesting", new Uint8Array(65536).fill(0x81)],
  ["endless nesting", new Uint8Array(65536).fill(0x9f)],
  ["a text of 4 GiB", Uint8Array.of(0x7a, 0xff, 0xff, 0xff, 0xff)],
  ["an array of 2^60", Uint8Array.of(0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0)],
  ["a map of 2^32", Uint8Array.of(0xba, 0xff, 0xff, 0xff, 0xff, 1, 1)],
  ["a regular expression", Uint8Array.of(0xd9, 0x52, 0x4a, 0x62, 0x28, 0x61)],
  ["a large integer", Uint8Array.of(0xc2, 0x49, 1, 0, 0, 0, 0, 0, 0, 0, 0)],
  ["bytes after the map", Uint8Array.of(0xa0, 0x00)],
];
for (const [name, payload] of hostile) {
  Deno.test(`readHello refuses ${name}`, () =>
    assert.throws(
      () => readHello(payload),
      (error) => error instanceof HutchError && error.code === "agent_protocol",
    ));
}

Deno.test("readEmptyReply takes no object that a tag makes, not even a map", () => {
  const tagged = Uint8Array.of(0xd9, 0x01, 0x03, 0xa0);
  assert.throws(() => readEmptyReply(tagged), /isn't a map/);
});

Deno.test("readHello gives a hello or agent_protocol for any bytes", () => {
  const whole = encodeCbor(hello);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.nat(whole.length), (at, byte, cut) => {
      const payload = whole.slice(0, cut);
      payload[at] = byte;
      try {
        const { protocol, agent, kernel, bootMs } = readHello(payload);
        assert.deepEqual([typeof protocol, typeof bootMs], ["number", "number"]);
        assert.deepEqual([typeof agent, typeof kernel], ["string", "string"]);
      } catch (error) {
        assert.ok(error instanceof HutchError && error.code === "agent_protocol", String(error));
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("plainText takes out what steers terminals and cuts what is long", () => {
  assert.equal(plainText("a\u001b[31mb\r\nc\u009bd\u202ee\u2028f"), "a [31mb c d e f");
  assert.equal(plainText("x".repeat(5000)).length, 1000);
  assert.ok(plainText(`${"x".repeat(999)}😀`).isWellFormed());
});
