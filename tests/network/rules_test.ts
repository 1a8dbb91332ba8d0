import assert from "node:assert/strict";
import { type RuleOptions, ruleTexts } from "../../src/network/rules.ts";

const allowed: readonly (readonly [string, readonly string[]])[] = [
  ["api.example.org", ["tcp api.example.org any"]],
  ["API.Example.org.:443", ["tcp api.example.org 443"]],
  ["*.example.com:443", ["tcp *.example.com 443"]],
  ["bücher.example", ["tcp xn--bcher-kva.example any"]],
  ["example.org:8000-8010", ["tcp example.org 8000-8010"]],
  ["1.2.3.4", ["any 1.2.3.4 any"]],
  ["1.2.3.4:53", ["tcp 1.2.3.4 53", "udp 1.2.3.4 53"]],
  ["10.0.0.0/8:53", ["tcp 10.0.0.0/8 53", "udp 10.0.0.0/8 53"]],
  ["fd00::1", ["any fd00::1 any"]],
  ["fd00::/8", ["any fd00::/8 any"]],
  ["[::1]:80", ["tcp ::1 80", "udp ::1 80"]],
  ["public", ["any public any"]],
  ["host:8080", ["tcp host 8080", "udp host 8080"]],
];

for (const [text, rules] of allowed) {
  Deno.test(`ruleTexts reads ${text}, and nothing else is allowed`, () => {
    const wanted = [...rules.map((rule) => `allow out ${rule}`), "deny out any any any"];
    assert.deepEqual(ruleTexts({ allowNet: [text] }), wanted);
  });
}

Deno.test("ruleTexts puts denials first, then rules, then what is allowed alone", () => {
  const options: RuleOptions = {
    allowNet: ["a.test"],
    denyNet: ["b.a.test", "metadata:80"],
    networkRules: [
      { action: "allow", target: "10.0.0.0/8", protocol: "udp", ports: [53, "60-70"] },
      { action: "deny", direction: "in", target: "private" },
      { action: "allow", protocol: "icmp" },
    ],
  };
  assert.deepEqual(ruleTexts(options), [
    "deny out any b.a.test any",
    "deny out tcp metadata 80",
    "deny out udp metadata 80",
    "allow out udp 10.0.0.0/8 53",
    "allow out udp 10.0.0.0/8 60-70",
    "deny in any private any",
    "allow out icmp any any",
    "allow out tcp a.test any",
    "deny out any any any",
  ]);
  assert.deepEqual(ruleTexts({}), []);
  assert.deepEqual(ruleTexts({ allowNet: [] }), ["deny out any any any"]);
});

const bad: readonly (readonly [RuleOptions, RegExp])[] = [
  [
    { allowNet: ["https://example.org"] },
    /"https:\/\/example.org": .*"\/\/example.org" is no port/,
  ],
  [{ allowNet: [""] }, /is no IP address/],
  [{ allowNet: ["*"] }, /is no IP address/],
  [{ allowNet: ["*.*.org"] }, /is no IP address/],
  [{ allowNet: ["a..b"] }, /is no IP address/],
  [{ allowNet: ["1.2.3"] }, /is no IP address/],
  [{ allowNet: ["1.2.3.4/33"] }, /"33" is no number of bits/],
  [{ allowNet: ["a.test:0x50"] }, /"0x50" is no port/],
  [{ allowNet: ["a.test:90-80"] }, /is no port/],
  [{ allowNet: ["a.test;allow any any any"] }, /is no IP address/],
  [{ allowNet: ["a b"] }, /is no IP address/],
  [{ allowNet: ["fe80::1%eth0"] }, /./],
  [{ networkRules: [{ action: "deny", direction: "in", target: "a.test" }] }, /who comes/],
  [{ networkRules: [{ action: "deny", protocol: "icmp", ports: 1 }] }, /no ports/],
  [JSON.parse('{"networkRules":[{"action":"drop"}]}'), /its action is neither/],
  [JSON.parse('{"networkRules":[{"action":"deny","protocol":"sctp"}]}'), /"sctp"/],
  [{ denyNet: Array.from({ length: 4001 }, () => "public") }, /4000 at most/],
];

for (const [options, message] of bad) {
  Deno.test(`ruleTexts refuses ${JSON.stringify(options).slice(0, 70)}`, () => {
    assert.throws(() => ruleTexts(options), { code: "invalid_option", message });
  });
}
