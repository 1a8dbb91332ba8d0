import assert from "node:assert/strict";
import { decodeCbor, encodeCbor } from "../../src/deps.ts";
import { writeCbor } from "../../src/guest/cbor_writer.ts";
import { fc } from "../deps.ts";

Deno.test("writeCbor writes a command just as the package does", () => {
  const request = {
    op: "exec",
    argv: ["sh", "-c", "é".repeat(300)],
    env: ["PATH=/bin", "EMPTY="],
    cwd: "/",
    user: "",
    stdin: false,
    timeoutMs: 2 ** 31 - 1,
    rlimits: { nofile: [64, null], core: [0, 0] },
    capKeep: 2 ** 41 - 1,
    noNewPrivileges: true,
  };
  assert.deepEqual(writeCbor(request), new Uint8Array(encodeCbor(request)));
});

Deno.test("writeCbor leaves out fields that are undefined", () => {
  assert.deepEqual(decodeCbor(writeCbor({ op: "ping", none: undefined })), { op: "ping" });
});

Deno.test("writeCbor writes what the package reads, for any value", () => {
  const { tree } = fc.letrec((tie) => ({
    leaf: fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 300 }),
      fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
      fc.constantFrom(0, 23, 24, 255, 256, 65_535, 65_536, 2 ** 32 - 1, 2 ** 32, -24, -25, -0),
      fc.double({ noNaN: true }),
      fc.boolean(),
      fc.constant(null),
      fc.uint8Array({ maxLength: 5_000 }),
    ),
    tree: fc.oneof(
      { maxDepth: 3 },
      tie("leaf"),
      fc.array(tie("tree"), { maxLength: 30 }),
      fc.dictionary(fc.string(), tie("tree"), { noNullPrototype: true }),
    ),
  }));
  fc.assert(fc.property(tree, (value) => {
    assert.deepEqual(mapsOf(decodeCbor(writeCbor(value), { preferMap: true })), mapsOf(value));
  }));
});

/** Maps in place of objects: a name such as `__proto__` is a name like others. */
function mapsOf(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(mapsOf);
  if (value instanceof Map) return new Map([...value].map(([key, each]) => [key, mapsOf(each)]));
  if (typeof value !== "object" || value === null) return value;
  return new Map(Object.entries(value).map(([key, each]) => [key, mapsOf(each)]));
}
