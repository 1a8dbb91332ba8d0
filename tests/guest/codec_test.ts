import assert from "node:assert/strict";
import {
  emptyHeader,
  headerProblem,
  makeCredit,
  makeFrame,
  readHeader,
  rewriteStream,
  writeHeader,
} from "../../src/guest/codec.ts";
import {
  ALONE,
  BACKGROUND,
  Channel,
  END,
  FrameType,
  HEADER_SIZE,
  MAX_MESSAGE,
  MAX_PAYLOAD,
  WIDE,
} from "../../src/guest/protocol.ts";
import { fc } from "../deps.ts";

const anyHeader = fc.record({
  length: fc.integer({ min: 0, max: 0xffffffff }),
  stream: fc.integer({ min: 0, max: 0xffffffff }),
  type: fc.integer({ min: 0, max: 255 }),
  flags: fc.integer({ min: 0, max: 255 }),
});

Deno.test("writeHeader and readHeader round-trip every header at any offset", () => {
  fc.assert(fc.property(anyHeader, fc.integer({ min: 0, max: 20 }), (header, at) => {
    const view = new DataView(new ArrayBuffer(40));
    writeHeader(view, at, header);
    const back = emptyHeader();
    readHeader(view, at, back);
    assert.deepEqual(back, { ...header });
  }));
});

Deno.test("writeHeader puts the fields where ffi/protocol.h says", () => {
  const frame = makeFrame(FrameType.DATA, 0x01020304, new Uint8Array([9]), Channel.STDERR | END);
  assert.deepEqual([...frame], [0, 0, 0, 1, 1, 2, 3, 4, 5, 0x82, 9]);
  const credit = makeCredit(7, Channel.STDOUT, 0x10203040);
  assert.deepEqual([...credit], [0, 0, 0, 4, 0, 0, 0, 7, 6, 1, 0x10, 0x20, 0x30, 0x40]);
});

Deno.test("rewriteStream changes the stream's number and nothing else", () => {
  const frame = makeFrame(FrameType.OPEN, 1, new Uint8Array([1, 2, 3]));
  rewriteStream(new DataView(frame.buffer), 0, 0xfffefdfc);
  assert.deepEqual(frame, makeFrame(FrameType.OPEN, 0xfffefdfc, new Uint8Array([1, 2, 3])));
});

const T = FrameType;
const cases: readonly [string, "agent" | "host", number, number, number, number, RegExp | null][] =
  [
    // name, side, type, stream, length, flags, problem
    ["hello", "agent", T.HELLO, 0, 10, 0, null],
    ["hello of a host", "host", T.HELLO, 0, 10, 0, /host sends/],
    ["hello on a stream", "agent", T.HELLO, 1, 10, 0, /stream 1/],
    ["empty hello", "agent", T.HELLO, 0, 0, 0, /0 bytes/],
    ["open", "host", T.OPEN, 1, MAX_MESSAGE, 0, null],
    ["large open", "host", T.OPEN, 1, MAX_MESSAGE + 1, 0, /isn't within/],
    ["open of an agent", "agent", T.OPEN, 1, 10, 0, /agent sends/],
    ["open on stream 0", "host", T.OPEN, 0, 10, 0, /stream 0/],
    ["large reply", "agent", T.REPLY, 1, MAX_MESSAGE + 1, 0, /isn't within/],
    ["background request", "host", T.OPEN, 1, 10, BACKGROUND, null],
    ["wide request", "host", T.OPEN, 1, 10, WIDE, null],
    ["wide control", "host", T.CONTROL, 1, 10, WIDE, /flags 16/],
    ["request with a channel", "host", T.OPEN, 1, 10, BACKGROUND | 1, /flags 65/],
    ["background control", "host", T.CONTROL, 1, 10, BACKGROUND, /flags 64/],
    ["reply with flags", "agent", T.REPLY, 1, 10, 1, /flags 1/],
    ["data", "agent", T.DATA, 1, MAX_PAYLOAD, Channel.STDERR | END, null],
    ["large data", "agent", T.DATA, 1, MAX_PAYLOAD + 1, Channel.STDOUT, /isn't within/],
    ["huge data", "host", T.DATA, 1, 0xffffffff, 0, /isn't within/],
    ["channel 3", "agent", T.DATA, 1, 1, 3, /flags 3/],
    ["unknown flag", "agent", T.DATA, 1, 1, 0x41, /flags 65/],
    ["data on stream 0", "agent", T.DATA, 0, 1, 1, /stream 0/],
    ["empty data", "agent", T.DATA, 1, 0, 1, /empty/],
    ["empty last data", "agent", T.DATA, 1, 0, 1 | END, null],
    ["credit", "host", T.CREDIT, 1, 4, 1, null],
    ["short credit", "host", T.CREDIT, 1, 3, 1, /isn't within/],
    ["ending credit", "host", T.CREDIT, 1, 4, 1 | END, /flags/],
    ["control", "host", T.CONTROL, 1, 4, 0, null],
    ["control of an agent", "agent", T.CONTROL, 1, 4, 0, /agent sends/],
    ["exit", "agent", T.EXIT, 1, 4, 0, null],
    ["exit of a host", "host", T.EXIT, 1, 4, 0, /host sends/],
    ["close", "host", T.CLOSE, 1, 0, 0, null],
    ["close with bytes", "agent", T.CLOSE, 1, 1, 0, /isn't within/],
    ["close of stream 0", "agent", T.CLOSE, 0, 0, 0, /stream 0/],
    ["goodbye", "agent", T.GOODBYE, 0, 10, 0, null],
    ["goodbye to one alone", "agent", T.GOODBYE, 0, 10, ALONE, null],
    ["goodbye with a flag of others", "agent", T.GOODBYE, 0, 10, 0x02, /flags 2/],
    ["type 0", "agent", 0, 0, 0, 0, /unknown/],
    ["type 11", "agent", 11, 1, 0, 0, /unknown/],
    ["type 255", "host", 255, 1, 0, 0, /unknown/],
  ];

for (const [name, side, type, stream, length, flags, problem] of cases) {
  Deno.test(`headerProblem ${problem ? "refuses" : "accepts"} ${name}`, () => {
    const found = headerProblem({ type, stream, length, flags }, side);
    if (problem === null) assert.equal(found, undefined);
    else assert.match(found ?? "", problem);
  });
}

Deno.test("headerProblem never accepts more than a frame may have", () => {
  fc.assert(fc.property(anyHeader, fc.constantFrom("agent", "host"), (header, side) => {
    if (headerProblem(header, side) !== undefined) return;
    assert.ok(header.length + HEADER_SIZE <= MAX_PAYLOAD + HEADER_SIZE);
    assert.ok(header.type === T.DATA || header.length <= MAX_MESSAGE);
  }));
});
