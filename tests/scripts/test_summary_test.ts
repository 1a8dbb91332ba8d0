import assert from "node:assert/strict";
import { type Entry, failedNames, summaryOf, tallyOf } from "../../scripts/test_summary.ts";

const REPORT = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="deno test" tests="6" failures="3" errors="0" time="0.035">
    <testsuite name="./a_test.ts" tests="6" disabled="2" errors="0" failures="3">
        <testcase name="ok" classname="./a_test.ts" time="0.001" line="1" col="6">
        </testcase>
        <testcase name="bad &lt;&amp;&gt; &#34;&#x41;" classname="./a_test.ts" time="0.001">
            <failure message="Uncaught Error: x">Error: x
&lt;/testcase&gt; &quot;y&quot;</failure>
        </testcase>
        <testcase name="away (needs a part)" classname="./a_test.ts" time="0.000" line="3" col="6">
            <skipped/>
        </testcase>
        <testcase name="steps" classname="./a_test.ts" time="0.003" line="5" col="6">
            <failure message="1 test step failed">1 test step failed.</failure>
        </testcase>
        <testcase name="steps &gt; a" classname="./a_test.ts" time="0.000" line="5" col="43">
        </testcase>
        <testcase name="steps &gt; b" classname="./a_test.ts" time="0.000" line="5" col="70">
            <failure message="Uncaught Error: q">Error: q</failure>
        </testcase>
        <testcase name="steps &gt; c" classname="./a_test.ts" time="0.000" line="5" col="120">
            <skipped/>
        </testcase>
        <testcase name="1 &gt; 0" classname="./a_test.ts" time="0.000" line="6" col="1">
        </testcase>
    </testsuite>
</testsuites>
`;
const WHOLE =
  `<testsuites><testsuite name="s"><testcase name="t"></testcase></testsuite></testsuites>`;

function suite(entry: Partial<Entry>): Entry {
  return { kind: "suite", code: 0, name: "unit", log: "", ...entry };
}

Deno.test("tallyOf counts tests, not steps, and names what failed or was skipped", () => {
  const tally = tallyOf(suite({ code: 1, report: REPORT }));
  assert.equal(tally.passed, 2); // "ok" and "1 > 0", which is no step
  assert.deepEqual(tally.failed, [
    { name: 'unit: ./a_test.ts: bad <&> "A', reason: 'Error: x\n</testcase> "y"' },
    { name: "unit: ./a_test.ts: steps", reason: "1 test step failed.\nError: q" },
  ]);
  assert.deepEqual(tally.skipped.map(({ name }) => name), [
    "unit: ./a_test.ts: away (needs a part)",
    "unit: ./a_test.ts: steps > c",
  ]);
});

const DEATHS: readonly [why: string, entry: Partial<Entry>][] = [
  ["without a report", { code: 137, log: "killed" }],
  ["without a report, but with code 0", {}],
  ["with a report cut short", { report: REPORT.slice(0, 700) }],
  ["with no test in its report", { report: "<testsuites></testsuites>" }],
  ["with a good report and a bad code", { code: 1, report: WHOLE }],
];

for (const [why, entry] of DEATHS) {
  Deno.test(`tallyOf counts a suite that ended ${why} as one failure`, () => {
    const tally = tallyOf(suite(entry));
    assert.equal(tally.failed.length, 1);
    assert.match(tally.failed[0]?.reason ?? "", new RegExp(`^ended with code ${entry.code ?? 0}`));
  });
}

Deno.test("tallyOf counts a module that failed outside of its tests, once", () => {
  const line = "\x1b[0m./b_test.ts (uncaught error)\x1b[0m\n";
  const tally = tallyOf(suite({ code: 1, report: WHOLE, log: `${line}x\n${line}` }));
  assert.equal(tally.passed, 1);
  assert.deepEqual(tally.failed.map(({ name }) => name), ["unit: ./b_test.ts"]);
});

Deno.test("tallyOf counts a check by its code, and a skip with its reason", () => {
  assert.equal(tallyOf({ kind: "check", code: 0, name: "format", log: "" }).passed, 1);
  const failed = tallyOf({ kind: "check", code: 2, name: "format", log: "a\n\x1b[31mb\x1b[0m\n" });
  assert.deepEqual(failed.failed, [{ name: "format", reason: "ended with code 2\na\nb" }]);
  const skipped = tallyOf({ kind: "skip", code: 0, name: "lab", log: "needs root" });
  assert.deepEqual(skipped.skipped, [{ name: "lab", reason: "needs root" }]);
});

const notice = { name: "a", reason: "because\nof b" };
const NONE = { failed: [], skipped: [], again: [] };

Deno.test("summaryOf ends with one line of sums", () => {
  const good = summaryOf([{ passed: 2, ...NONE }, { passed: 3, ...NONE }]);
  assert.deepEqual(good, { text: "5 passed, 0 failed", ok: true });
  const mixed = summaryOf([
    { passed: 2, ...NONE, failed: [notice] },
    { passed: 0, ...NONE, skipped: [notice, notice] },
  ]);
  assert.equal(mixed.ok, false);
  assert.deepEqual(mixed.text.split("\n").slice(0, 4), [
    "Failed:",
    "  a",
    "      because",
    "      of b",
  ]);
  assert.equal(mixed.text.split("\n").at(-1), "2 passed, 1 failed, 2 skipped");
});

Deno.test("summaryOf takes a run of nothing for a failure", () => {
  assert.deepEqual(summaryOf([]), { text: "0 passed, 1 failed", ok: false });
  assert.equal(summaryOf([{ passed: 0, ...NONE, skipped: [notice] }]).ok, false);
});

function report(...cases: readonly [name: string, failure?: string][]): string {
  const texts = cases.map(([name, text]) =>
    `<testcase name="${name}">${text ? `<failure message="x">${text}</failure>` : ""}</testcase>`
  );
  return `<testsuites><testsuite name="./a_test.ts">${texts.join("")}</testsuite></testsuites>`;
}

Deno.test("failedNames matches the tests that failed, and not their steps", () => {
  assert.equal(failedNames(report(["a (b) 1.5"], ["c"])), "");
  const failed = report(["fine"], ["a (b) 1.5", "wrong"], ["c", "wrong"], ["c &gt; d", "wrong"]);
  assert.equal(failedNames(failed), "/^(?:a \\(b\\) 1\\.5|c)$/");
});

Deno.test("failedNames gives nothing when so many failed that a second run would tell nothing", () => {
  const names = Array.from({ length: 11 }, (_, at): [string, string] => [`t${at}`, "wrong"]);
  assert.notEqual(failedNames(report(...names.slice(1))), "");
  assert.equal(failedNames(report(...names)), "");
});

Deno.test("tallyOf counts a failure as passed, and names it, if its second run passed", () => {
  const first = report(["fine"], ["a", "wrong"], ["b", "wrong"], ["c", "wrong"]);
  const again = report(["a"], ["b", "wrong"]);
  const tally = tallyOf(suite({ code: 1, report: first, again }));
  assert.equal(tally.passed, 2);
  assert.deepEqual(tally.again.map(({ name }) => name), ["unit: ./a_test.ts: a"]);
  assert.deepEqual(tally.failed.map(({ name }) => name), [
    "unit: ./a_test.ts: b",
    "unit: ./a_test.ts: c",
  ]);
  assert.match(
    summaryOf([{ ...tally, failed: [] }]).text,
    /^Passed at the second try:\n {2}unit: /,
  );
});
