import assert from "node:assert/strict";
import { join } from "node:path";
import { HutchError } from "../../src/errors.ts";
import { parseEnvFile, readEnvironment } from "../../src/cli/env.ts";

const lookup = (name: string) => ({ HOME: "/home/me", EMPTY: "" })[name];

Deno.test("readEnvironment merges pairs as Docker does", async () => {
  const pairs = ["A=1", "B=x=y", "C=", "HOME", "EMPTY", "UNSET", "A=2", "D= sp ", "__proto__=p"];
  const env = await readEnvironment([], pairs, lookup);
  assert.deepEqual(Object.entries(env), [
    ["A", "2"],
    ["B", "x=y"],
    ["C", ""],
    ["HOME", "/home/me"],
    ["EMPTY", ""],
    ["D", " sp "],
    ["__proto__", "p"],
  ]);
});

Deno.test("readEnvironment refuses a pair without a name", async () => {
  for (const pair of ["", "=x"]) {
    await assert.rejects(readEnvironment([], [pair], lookup), (error: unknown) => {
      assert(error instanceof HutchError);
      assert.equal(error.code, "invalid_option");
      assert.equal(error.message, `Cannot read --env: ${JSON.stringify(pair)} has no name`);
      return true;
    });
  }
});

Deno.test("parseEnvFile reads values verbatim, names from the environment, no comments", () => {
  const text =
    '\ufeff# comment\nA=1\r\n\n  # another\n  B= two words # kept\nHOME\nUNSET\nC="q"\nD=';
  assert.deepEqual(parseEnvFile(text, "f", lookup), [
    ["A", "1"],
    ["B", " two words # kept"],
    ["HOME", "/home/me"],
    ["C", '"q"'],
    ["D", ""],
  ]);
});

Deno.test("parseEnvFile refuses bad lines and names file and line", () => {
  const table: [string, RegExp][] = [
    ["A=1\n=x", /"f" line 2: "=x" has no name/],
    ["export A=1", /line 1: the name "export A" has a space/],
    ["A B", /line 1: the name "A B" has a space/],
    ["A=1\nB=\0", /line 2: the value has a zero byte/],
    ["A\0=1", /line 1/],
  ];
  for (const [text, pattern] of table) {
    assert.throws(() => parseEnvFile(text, "f", lookup), pattern);
  }
});

Deno.test("readEnvironment reads files before pairs, later files over earlier ones", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const [one, two, binary] = ["one", "two", "binary"].map((name) => join(folder, name));
    assert(one !== undefined && two !== undefined && binary !== undefined);
    await Deno.writeTextFile(one, "A=one\nB=one\nC=one\n");
    await Deno.writeTextFile(two, "B=two\nC=two");
    assert.deepEqual(await readEnvironment([one, two], ["C=pair"], lookup), {
      A: "one",
      B: "two",
      C: "pair",
    });
    await Deno.writeFile(binary, new Uint8Array([65, 61, 0xff]));
    await assert.rejects(readEnvironment([binary], [], lookup), /isn't UTF-8/);
    await assert.rejects(
      readEnvironment([join(folder, "none")], [], lookup),
      { code: "invalid_option", message: /--env-file ".*none": No such file/ },
    );
    await assert.rejects(readEnvironment([folder], [], lookup), /--env-file/);
    await assert.rejects(readEnvironment(["/dev/zero"], [], lookup), /larger than/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
