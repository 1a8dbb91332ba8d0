import assert from "node:assert/strict";
import { parseSizeMiB } from "../../src/box/size.ts";
import { HutchError } from "../../src/errors.ts";

Deno.test("parseSizeMiB reads sizes as Docker writes them", () => {
  const table: [string, number][] = [
    ["512m", 512],
    ["512M", 512],
    ["512mb", 512],
    ["512MiB", 512],
    ["512 mib", 512],
    ["2g", 2048],
    ["1.5GiB", 1536],
    ["1.g", 1024],
    [".5g", 512],
    ["1t", 1024 * 1024],
    ["2P", 2 * 1024 ** 3],
    ["65536k", 64],
    ["65537kb", 65],
    ["67108864", 64],
    ["67108865b", 65],
    ["1048576b", 1],
    [" 64m ", 64],
  ];
  for (const [text, expected] of table) assert.equal(parseSizeMiB(text, "memory"), expected, text);
});

Deno.test("parseSizeMiB refuses what isn't a size and names it", () => {
  const table = [
    "",
    " ",
    "m",
    "lots",
    "-1g",
    "+1g",
    "1x",
    "1gg",
    "1ib",
    "1,5g",
    "1e3m",
    "0x10m",
    "1 g b",
    "1\ng",
    "NaN",
    "Infinity",
    "1.5.5g",
    ".g",
    "9".repeat(400),
  ];
  for (const text of [...table, "0", "0g", "0.0m", "512", "1b", "9000t", "9999999p"]) {
    assert.throws(() => parseSizeMiB(text, "--memory"), (error: unknown) => {
      assert(error instanceof HutchError, text);
      assert.equal(error.code, "invalid_option");
      assert(error.message.startsWith("Cannot read --memory: "), error.message);
      assert(error.message.includes(JSON.stringify(text)), error.message);
      assert(error.hint !== undefined);
      return true;
    }, text);
  }
});

Deno.test("parseSizeMiB says that a plain number counts bytes", () => {
  assert.throws(() => parseSizeMiB("512", "--memory"), /a number of bytes/);
});

Deno.test("parseSizeMiB takes a number as whole MiB", () => {
  assert.equal(parseSizeMiB(64, "memory"), 64);
  for (const size of [0, -1, 1.5, NaN, Infinity, 2 ** 60]) {
    assert.throws(() => parseSizeMiB(size, "memory"), {
      code: "invalid_option",
      message: `Cannot read memory: ${size} is not a whole number of MiB above 0`,
    });
  }
});
