import assert from "node:assert/strict";
import * as protocol from "../../src/guest/protocol.ts";

const header = await Deno.readTextFile(new URL("../../ffi/protocol.h", import.meta.url));

/** Every `HUTCH_X` number or text of the header, by name. */
function headerValues(): Map<string, number | string> {
  const values = new Map<string, number | string>();
  for (const [, name = "", text = ""] of header.matchAll(/^#define HUTCH_(\w+) +(.+)$/gm)) {
    const value = text.replace(/\/\*.*$/, "").trim();
    if (value.startsWith('"')) values.set(name, value.slice(1, -1));
    else values.set(name, product(value));
  }
  for (const [, name = "", value = ""] of header.matchAll(/HUTCH_(\w+) = (\w+)/g)) {
    values.set(name, Number(value));
  }
  return values;
}

function product(text: string): number {
  const factors = text.replace(/[()]/g, "").split("*").map((factor) => Number(factor.trim()));
  return factors.reduce((left, right) => left * right, 1);
}

Deno.test("protocol constants are those of ffi/protocol.h", () => {
  const ours = new Map<string, unknown>();
  for (const [name, value] of Object.entries(protocol)) {
    if (typeof value === "object") { for (const pair of Object.entries(value)) ours.set(...pair); }
    else ours.set(name, value);
  }
  assert.ok(ours.size >= 22);
  assert.deepEqual(
    new Map([...ours].sort()),
    new Map([...headerValues()].filter(([name]) => name !== "PROTOCOL_H").sort()),
  );
});
