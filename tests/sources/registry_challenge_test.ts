import assert from "node:assert/strict";
import { type Challenge, parseChallenges } from "../../plugins/sources/registry/challenge.ts";
import { fc } from "../deps.ts";

const CHALLENGES: readonly (readonly [string, readonly (readonly [string, object])[]])[] = [
  ["Basic", [["basic", {}]]],
  ['Bearer realm="a,b=c",service=d', [["bearer", { realm: "a,b=c", service: "d" }]]],
  ['BASIC realm="x" , Bearer Realm = "y"', [["basic", { realm: "x" }], ["bearer", { realm: "y" }]]],
  ["Negotiate, Basic realm=x", [["negotiate", {}], ["basic", { realm: "x" }]]],
  ['Bearer realm="\\"q\\\\"', [["bearer", { realm: '"q\\' }]]],
  ['Bearer realm="open', [["bearer", { realm: "" }]]],
  ["", []],
  ['"nothing"', []],
  ["a".repeat(100_000), [["a".repeat(8192), {}]]],
];

for (const [header, expected] of CHALLENGES) {
  Deno.test(`parseChallenges reads ${JSON.stringify(header.slice(0, 60))}`, () => {
    const found = parseChallenges(header)
      .map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);
    assert.deepEqual(found, expected);
  });
}

/** Two entries in a header with spaces and quotes as somebody may write them. */
interface Spelling {
  readonly quoted: boolean;
  readonly space: string;
  readonly upper: boolean;
}

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
const spelling: fc.Arbitrary<Spelling> = fc.record({
  quoted: fc.boolean(),
  space: fc.constantFrom("", " ", "\t", "  "),
  upper: fc.boolean(),
});
const challenge = fc.record({
  scheme: token,
  parameters: fc.uniqueArray(
    fc.record({ name: token, value: fc.stringMatching(/^[\x20-\x7e]{0,20}$/), spelling }),
    { maxLength: 4, selector: ({ name }) => name.toLowerCase() },
  ),
});
type Written = typeof challenge extends fc.Arbitrary<infer T> ? T : never;

function write({ scheme, parameters }: Written): string {
  const list = parameters.map(({ name, value, spelling: { quoted, space, upper } }) => {
    const plain = !quoted && value !== "" && !/[\s",]/.test(value);
    const text = plain ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
    return `${upper ? name.toUpperCase() : name}${space}=${space}${text}`;
  });
  return `${scheme} ${list.join(", ")}`.trimEnd();
}

function plain(challenges: readonly Challenge[]): unknown {
  return challenges.map(({ scheme, parameters }) => [scheme, [...parameters]]);
}

Deno.test("parseChallenges reads whatever list of challenges is written by the rules", () => {
  fc.assert(fc.property(
    fc.array(challenge, { minLength: 1, maxLength: 4 }),
    fc.constantFrom(", ", ",", " ,\t", ",,, "),
    (challenges, comma) => {
      assert.deepEqual(
        plain(parseChallenges(challenges.map(write).join(comma))),
        challenges.map(({ scheme, parameters }) => [
          scheme.toLowerCase(),
          parameters.map(({ name, value }) => [name.toLowerCase(), value]),
        ]),
      );
    },
  ));
});

Deno.test("parseChallenges ends with every text, and gives nothing that wasn't in it", () => {
  const hostile = fc.stringMatching(/^[ ,="\\a-cB\t]{0,200}$/);
  fc.assert(fc.property(fc.oneof(hostile, fc.string({ maxLength: 300 })), (text) => {
    for (const { scheme, parameters } of parseChallenges(text)) {
      assert.ok(text.toLowerCase().includes(scheme));
      assert.match(scheme, /^[!#$%&'*+.^_`|~0-9a-z-]+$/);
      for (const name of parameters.keys()) assert.match(name, /^[!#$%&'*+.^_`|~0-9a-z-]+$/);
    }
  }));
});

for (const piece of ['a="', 'a="\\', "a=,", 'Bearer a="x"', "a b ", "= = "]) {
  Deno.test(`parseChallenges reads ${JSON.stringify(piece)} over and over without delay`, () => {
    const started = performance.now();
    for (let round = 0; round < 20; round++) parseChallenges(piece.repeat(8192 / piece.length));
    assert.ok(performance.now() - started < 5000);
  });
}
