import assert from "node:assert/strict";
import { Channel, END, FrameType, WIDE_WINDOW, WINDOW } from "../../src/guest/protocol.ts";
import { StreamRules } from "../../src/guest/stream_rules.ts";
import { fc } from "../deps.ts";

const T = FrameType;
type Step = readonly [type: number, flags?: number, length?: number, credit?: number];
const reply: Step = [T.REPLY, 0, 1];
const out = (length: number, flags: number = Channel.STDOUT): Step => [T.DATA, flags, length];

/** What the last of `steps` gives; the ones before must be fine. */
function last(steps: readonly Step[], rules = new StreamRules()): string | undefined {
  let problem: string | undefined;
  steps.forEach(([type, flags = 0, length = 0, credit = 0], index) => {
    problem = rules.receive(type, flags, length, credit);
    if (index < steps.length - 1) assert.equal(problem, undefined, `step ${index}`);
  });
  return problem;
}

const good: readonly [string, readonly Step[]][] = [
  ["a command's life", [reply, out(5), out(0, END | Channel.STDOUT), [T.EXIT, 0, 1], [T.CLOSE]]],
  ["a refusal", [[T.ERROR, 0, 1], [T.CLOSE]]],
  ["a broken stream", [reply, [T.ERROR, 0, 1], [T.CLOSE]]],
  ["a close without an answer", [[T.CLOSE]]],
  ["output after the command's end", [reply, [T.EXIT, 0, 1], out(5), [T.CLOSE]]],
  ["one window per channel", [reply, out(WINDOW), out(WINDOW, Channel.STDERR)]],
  ["a closed stdin", [reply, out(0, Channel.STDIN | END)]],
];
for (const [name, steps] of good) {
  Deno.test(`StreamRules accepts ${name}`, () => assert.equal(last(steps), undefined));
}

const bad: readonly [string, readonly Step[], RegExp][] = [
  ["data before the reply", [out(1)], /DATA came after no answer/],
  ["two replies", [reply, reply], /REPLY came after REPLY/],
  ["a reply after an error", [[T.ERROR, 0, 1], reply], /REPLY came after ERROR/],
  ["two errors", [[T.ERROR, 0, 1], [T.ERROR, 0, 1]], /ERROR came after ERROR/],
  ["data after an error", [reply, [T.ERROR, 0, 1], out(1)], /DATA came after ERROR/],
  ["an exit before the reply", [[T.EXIT, 0, 1]], /EXIT came after no answer/],
  ["two exits", [reply, [T.EXIT, 0, 1], [T.EXIT, 0, 1]], /EXIT came after EXIT/],
  [
    "data after its end",
    [reply, out(1, Channel.STDERR | END), out(1, Channel.STDERR)],
    /after the/,
  ],
  ["bytes on stdin", [reply, out(1, Channel.STDIN | END)], /stdin/],
  ["a byte over the window", [reply, out(WINDOW), out(1)], /over 1048576/],
  ["credit before the reply", [[T.CREDIT, 0, 4, 1]], /CREDIT came after no answer/],
  ["credit for stdout", [reply, [T.CREDIT, 1, 4, 1]], /channel 1/],
  ["credit for what wasn't sent", [reply, [T.CREDIT, 0, 4, 1]], /isn't within/],
  ["frames of a host", [[T.OPEN, 0, 1]], /OPEN came/],
];
for (const [name, steps, problem] of bad) {
  Deno.test(`StreamRules refuses ${name}`, () => assert.match(last(steps) ?? "", problem));
}

Deno.test("StreamRules gives a wide stream a wide window, and no more", () => {
  const wide = () => new StreamRules({ wide: true });
  assert.equal(wide().stdinCredit, WIDE_WINDOW);
  assert.equal(last([reply, out(WIDE_WINDOW)], wide()), undefined);
  assert.match(last([reply, out(WIDE_WINDOW), out(1)], wide()) ?? "", /over 4194304/);
});

Deno.test("StreamRules refuses credit of 0 and of more than is under way", () => {
  const rules = new StreamRules();
  assert.equal(last([reply], rules), undefined);
  rules.sent(100);
  assert.match(rules.receive(T.CREDIT, 0, 4, 0) ?? "", /isn't within/);
  assert.match(rules.receive(T.CREDIT, 0, 4, 101) ?? "", /isn't within/);
  assert.equal(rules.receive(T.CREDIT, 0, 4, 100), undefined);
  assert.equal(rules.stdinCredit, WINDOW);
});

Deno.test("StreamRules keeps every channel within its window, whatever happens", () => {
  const step = fc.record({
    what: fc.constantFrom("data", "grant", "send", "credit"),
    channel: fc.constantFrom<number>(Channel.STDOUT, Channel.STDERR),
    count: fc.oneof(fc.integer({ min: 0, max: 10 }), fc.integer({ min: 0, max: 2 * WINDOW })),
  });
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const rules = new StreamRules();
    rules.receive(T.REPLY, 0, 1, 0);
    const model = new Map([[Channel.STDOUT as number, 0], [Channel.STDERR as number, 0]]);
    let stdin = 0;
    for (const { what, channel, count } of steps) {
      const under = model.get(channel) ?? 0;
      if (what === "data") {
        const problem = rules.receive(T.DATA, channel, count, 0);
        assert.equal(problem === undefined, under + count <= WINDOW);
        if (problem !== undefined) return; // The box would end here.
        model.set(channel, under + count);
      } else if (what === "grant") {
        const granted = rules.granted(channel, count);
        assert.equal(granted, count > 0 && count <= under);
        if (granted) model.set(channel, under - count);
      } else if (what === "send" && count <= rules.stdinCredit) {
        rules.sent(count);
        stdin += count;
      } else if (what === "credit") {
        const problem = rules.receive(T.CREDIT, Channel.STDIN, 4, count);
        assert.equal(problem === undefined, count > 0 && count <= stdin);
        if (problem !== undefined) return;
        stdin -= count;
      }
      for (const [each, bytes] of model) assert.equal(rules.underWay(each), bytes);
      assert.equal(rules.stdinCredit, WINDOW - stdin);
    }
  }));
});
