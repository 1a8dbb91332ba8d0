import assert from "node:assert/strict";
import { COMMANDS } from "../../src/cli/commands.ts";
import { manualPage } from "../../src/cli/man.ts";

const page = await manualPage();

Deno.test("manualPage has every command with its options, and none that is hidden", () => {
  for (const { name, hidden, summary, commands } of COMMANDS) {
    const title = new RegExp(`^\\.SS hutch ${name.replaceAll("-", "\\\\-")}( |$)`, "m");
    assert.equal(title.test(page), hidden !== true, name);
    if (hidden !== true) assert.ok(page.includes(`${summary.replaceAll("-", "\\-")}.`), name);
    for (const nested of commands ?? []) {
      assert.match(page, new RegExp(`^\\.SS hutch ${name} ${nested.name}`, "m"));
    }
  }
  assert.match(page, /^\.B \\-\\-security\\-opt/m);
  assert.match(page, /^Also: ps\.$/m);
});

Deno.test("manualPage has no line that a formatter would take for a request", () => {
  for (const line of page.split("\n")) {
    if (/^[.']/.test(line)) assert.match(line, /^\.(TH|SH|SS|TP|B)( |$)/);
    assert.doesNotMatch(line, /\\(?![-e&])/);
    assert.doesNotMatch(line, /(?<!\\)-/);
  }
});
