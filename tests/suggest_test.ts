import assert from "node:assert/strict";
import { editDistance, nearest } from "../src/suggest.ts";

Deno.test("editDistance counts insertions, deletions, replacements and swaps", () => {
  const table: [string, string, number][] = [
    ["", "", 0],
    ["", "ab", 2],
    ["ab", "", 2],
    ["web", "web", 0],
    ["web", "wbe", 1],
    ["web", "we", 1],
    ["web", "webs", 1],
    ["web", "wab", 1],
    ["kitten", "sitting", 3],
  ];
  for (const [a, b, distance] of table) assert.equal(editDistance(a, b), distance, `${a} ${b}`);
});

Deno.test("nearest finds slips and leaves strangers alone", () => {
  const names = ["web", "database", "box-1"];
  const table: [string, string | undefined][] = [
    ["wbe", "web"],
    ["WEB", "web"],
    ["databse", "database"],
    ["box-2", "box-1"],
    ["zzz", undefined],
    ["x", undefined],
    ["", undefined],
  ];
  for (const [word, expected] of table) assert.equal(nearest(word, names), expected, word);
  assert.equal(nearest("web", []), undefined);
});
