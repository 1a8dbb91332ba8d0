import assert from "node:assert/strict";
import { type ErrorCode, HutchError } from "../../src/errors.ts";
import { exitCodeOf, formatError, Interrupted } from "../../src/cli/report.ts";

Deno.test("exitCodeOf follows Docker's command line", () => {
  const table: [ErrorCode, number][] = [
    ["command_not_found", 127],
    ["command_not_executable", 126],
    ["invalid_option", 125],
    ["box_not_found", 125],
    ["boot_timeout", 125],
    ["cancelled", 125],
  ];
  for (const [code, expected] of table) {
    assert.equal(exitCodeOf(new HutchError(code, "x")), expected);
  }
  assert.equal(exitCodeOf(new TypeError("x")), 125);
  assert.equal(exitCodeOf("thrown text"), 125);
  assert.equal(exitCodeOf(new Interrupted("SIGINT")), 130);
  assert.equal(exitCodeOf(new Interrupted("SIGTERM")), 143);
  assert.equal(exitCodeOf(new Interrupted("SIGHUP")), 129);
});

Deno.test("formatError prints one line with the hint", () => {
  const quiet = { debug: false };
  assert.equal(
    formatError(new HutchError("box_not_found", 'Cannot find box "x"', { hint: "see ls" }), quiet),
    'hutch: Cannot find box "x"; see ls\n',
  );
  assert.equal(formatError(new HutchError("box_not_found", "No hint"), quiet), "hutch: No hint\n");
});

Deno.test("formatError shows a guest's console lines without obeying them", () => {
  const error = new HutchError("boot_timeout", "Cannot boot: silent\n\x1b[2Jpanic\r\n\n  at x", {
    hint: "wait\nlonger",
  });
  assert.equal(
    formatError(error, { debug: false }),
    "hutch: Cannot boot: silent; wait longer\n  \\x1b[2Jpanic\\x0d\n    at x\n",
  );
});

Deno.test("formatError calls anything unexpected a bug", () => {
  const hint = "this is a bug in hutch; run again with --debug";
  assert.equal(
    formatError(new TypeError("x is null"), { debug: false }),
    `hutch: x is null; ${hint}\n`,
  );
  assert.equal(formatError("text", { debug: false }), `hutch: text; ${hint}\n`);
  assert.equal(formatError(undefined, { debug: false }), `hutch: undefined; ${hint}\n`);
  assert.equal(formatError(new Error(""), { debug: false }), `hutch: Error; ${hint}\n`);
});

Deno.test("formatError with debug shows the chain of causes with stacks and codes", () => {
  const deepest = new Error("deepest");
  const middle = new AggregateError([new Error("first of two"), deepest], "middle");
  const error = new HutchError("boot_failed", "Cannot boot", { cause: middle });
  const text = formatError(error, { debug: true });
  assert.match(text, /^hutch: Cannot boot\n {2}error \(boot_failed\): HutchError: Cannot boot\n/);
  assert.match(text, /caused by: AggregateError: middle/);
  assert.match(text, /one of: Error: first of two/);
  assert.match(text, /one of: Error: deepest/);
  assert.match(text, /report_test\.ts/);
});

Deno.test("formatError with debug ends where causes go in a circle", () => {
  const one = new Error("one");
  one.cause = new Error("two", { cause: one });
  const text = formatError(new HutchError("boot_failed", "x", { cause: one }), { debug: true });
  assert.equal(text.match(/caused by: Error: one/g)?.length, 1);
});
