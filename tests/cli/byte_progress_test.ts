/** What commands that count bytes show. */
import assert from "node:assert/strict";
import { progressLine } from "../../src/cli/byte_progress.ts";

Deno.test("progressLine says how far something is, and of how much where that is known", () => {
  const [done, total] = [12 * 2 ** 20, 40 * 2 ** 20];
  assert.equal(progressLine("Exporting", { done, total }), "Exporting  12 MiB of 40 MiB");
  assert.equal(progressLine("Importing", { done }), "Importing  12 MiB");
});
