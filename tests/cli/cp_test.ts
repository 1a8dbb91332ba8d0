import assert from "node:assert/strict";
import { outcomeLine, progressLine } from "../../src/cli/copy_progress.ts";
import { placesOf } from "../../src/cli/cp.ts";
import { HutchError } from "../../src/errors.ts";

const ends = (terminal: boolean) => ({
  stdin: { read: () => Promise.resolve(null), isTerminal: () => terminal },
  stdout: {
    write: (bytes: Uint8Array) => Promise.resolve(bytes.length),
    isTerminal: () => terminal,
  },
});

Deno.test("placesOf tells paths here from paths in boxes", () => {
  const here = (path: string) => ({ box: undefined, path });
  const table: [string, string, ReturnType<typeof placesOf>][] = [
    ["a", "web:/b", [here("a"), { box: "web", path: "/b" }]],
    ["web:b:c", ".", [{ box: "web", path: "b:c" }, here(".")]],
    ["./a:b", "web:/", [here("./a:b"), { box: "web", path: "/" }]],
    ["/a:b", "web:/", [here("/a:b"), { box: "web", path: "/" }]],
    ["d/a:b", "web:/", [here("d/a:b"), { box: "web", path: "/" }]],
    ["-", "web:/", [here("-"), { box: "web", path: "/" }]],
    ["web:/x\ny", "-", [{ box: "web", path: "/x\ny" }, here("-")]],
    ["web:-", "x", [{ box: "web", path: "-" }, here("x")]],
  ];
  for (const [from, to, places] of table) assert.deepEqual(placesOf(from, to, ends(false)), places);
});

Deno.test("placesOf refuses what has no end in a box, or two, and tar streams on a terminal", () => {
  const table: [string, string, boolean, RegExp][] = [
    ["a", "b", false, /neither is in a box/],
    ["a:/x", "b:/x", false, /both are in boxes/],
    ["-", "-", false, /neither is in a box/],
    ["web:", "x", false, /box web's path is empty/],
    ["", "web:/", false, /a path is empty/],
    ["-", "web:/", true, /standard input is a terminal/],
    ["web:/", "-", true, /standard output is a terminal/],
  ];
  for (const [from, to, terminal, words] of table) {
    assert.throws(() => placesOf(from, to, ends(terminal)), (error) => {
      assert(error instanceof HutchError && error.code === "invalid_option");
      assert.match(error.message, words);
      return true;
    });
  }
});

Deno.test("progressLine stays within the terminal and obeys no name", () => {
  const progress = { path: `\x1b[2J${"x".repeat(200)}`, entries: 3, bytes: 2048 };
  const line = progressLine(progress, 40);
  assert.equal(line.length, 39);
  assert.match(line, /^3 entries, 2 KiB {2}\\x1b\[2Jx+$/);
  assert.equal(progressLine({ path: ".", entries: 0, bytes: 5 }, 80), "5 B");
  assert.equal(
    outcomeLine({ entries: 1, bytes: 0, skipped: 1 }),
    "Copied 1 entry, 0 B; 1 socket left out",
  );
});
