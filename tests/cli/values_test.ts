import assert from "node:assert/strict";
import { collect, parseCount, parseLabels, parseTimeMs } from "../../src/cli/values.ts";

Deno.test("collect keeps the order and doesn't change what it got", () => {
  const first = collect("a", undefined);
  assert.deepEqual(collect("b", first), ["a", "b"]);
  assert.deepEqual(first, ["a"]);
});

Deno.test("parseCount takes whole numbers alone", () => {
  assert.equal(parseCount("0", "--cpus"), 0);
  assert.equal(parseCount("16", "--cpus"), 16);
  for (const text of ["", " 1", "1 ", "-1", "+1", "1.0", "1e3", "0x1", "1234567890", "one"]) {
    assert.throws(() => parseCount(text, "--cpus"), {
      code: "invalid_option",
      message: `Cannot read --cpus: ${JSON.stringify(text)} is not a whole number`,
    });
  }
});

Deno.test("parseTimeMs reads seconds and units", () => {
  const table: [string, number][] = [
    ["0", 0],
    ["30", 30_000],
    ["0.5", 500],
    ["250ms", 250],
    ["1.5s", 1500],
    ["2m", 120_000],
    ["1h", 3_600_000],
    ["2147483", 2_147_483_000],
  ];
  for (const [text, ms] of table) assert.equal(parseTimeMs(text, "-t"), ms, text);
  for (const text of ["", "-1", "1 s", "s", "1d", "1e3", "2147484", "999h", ".5", "Infinity"]) {
    assert.throws(() => parseTimeMs(text, "-t"), { code: "invalid_option" }, text);
  }
});

Deno.test("parseLabels splits at the first =, later pairs win", () => {
  assert.deepEqual(parseLabels(["a=1", "b", "c=x=y", "a=2", "d="], "--label"), {
    a: "2",
    b: "",
    c: "x=y",
    d: "",
  });
  assert(Object.hasOwn(parseLabels(["__proto__=x"], "--label"), "__proto__"));
  for (const text of ["", "=x"]) {
    assert.throws(() => parseLabels([text], "--label"), /--label: .* has no key/);
  }
});
