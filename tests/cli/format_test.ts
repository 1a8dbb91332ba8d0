import assert from "node:assert/strict";
import {
  formatBytes,
  formatDuration,
  formatMiB,
  formatTable,
  printable,
} from "../../src/cli/format.ts";

Deno.test("printable shows control characters instead of passing them on", () => {
  assert.equal(printable("plain äöü 箱"), "plain äöü 箱");
  assert.equal(printable("a\x1b[31mb\r\n\t\x7f"), "a\\x1b[31mb\\x0d\\x0a\\x09\\x7f");
  assert.equal(printable("\u009b2J\u202e"), "\\x9b2J\\u202e");
});

Deno.test("formatTable aligns columns and ends lines without spaces", () => {
  assert.equal(
    formatTable(["ID", "NAME", "X"], [["1", "long-name", ""], ["22", "箱", "y"]]),
    "ID   NAME        X\n1    long-name\n22   箱           y\n",
  );
  assert.equal(formatTable(["ID", "NAME"], []), "ID   NAME\n");
  assert(!formatTable(["A"], [["\x1b]0;x\x07"]]).includes("\x1b"));
});

Deno.test("formatDuration takes the largest whole unit", () => {
  const table: [number, string][] = [
    [-5000, "under a second"],
    [999, "under a second"],
    [1000, "1 second"],
    [59_999, "59 seconds"],
    [60_000, "1 minute"],
    [3_599_999, "59 minutes"],
    [7_200_000, "2 hours"],
    [86_400_000, "1 day"],
    [6 * 86_400_000, "6 days"],
    [7 * 86_400_000, "1 week"],
    [31 * 86_400_000, "1 month"],
    [400 * 86_400_000, "1 year"],
  ];
  for (const [ms, text] of table) assert.equal(formatDuration(ms), text);
});

Deno.test("formatBytes and formatMiB keep one decimal at most", () => {
  assert.equal(formatBytes(0), "0 B");
  assert.equal(formatBytes(1023), "1023 B");
  assert.equal(formatBytes(1024), "1 KiB");
  assert.equal(formatBytes(1_048_575), "1 MiB");
  assert.equal(formatBytes(2 ** 60), "1024 PiB");
  assert.equal(formatMiB(512), "512 MiB");
  assert.equal(formatMiB(1536), "1.5 GiB");
  assert.equal(formatMiB(10 * 1024), "10 GiB");
});
