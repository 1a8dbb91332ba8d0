import assert from "node:assert/strict";
import { OutputClosed, print, writeAll } from "../../src/cli/io.ts";
import { printJson } from "../../src/cli/json.ts";
import { MemorySink } from "./helpers.ts";

Deno.test("writeAll goes on until every byte is written", async () => {
  const sink = new MemorySink(3);
  await writeAll(sink, new TextEncoder().encode("0123456789"));
  assert.equal(sink.text, "0123456789");
  assert.deepEqual(sink.chunks.map((chunk) => chunk.length), [3, 3, 3, 1]);
});

Deno.test("writeAll tries again when a non-blocking pipe is full", async () => {
  const inner = new MemorySink();
  let full = 2;
  const sink = {
    isTerminal: () => false,
    write: (bytes: Uint8Array) =>
      full-- > 0 ? Promise.reject(new Deno.errors.WouldBlock("full")) : inner.write(bytes),
  };
  await print(sink, "text");
  assert.equal(inner.text, "text");
});

Deno.test("writeAll tells a reader that is gone from other failures", async () => {
  const failing = (error: Error) => ({
    isTerminal: () => false,
    write: () => Promise.reject(error),
  });
  await assert.rejects(print(failing(new Deno.errors.BrokenPipe("x")), "t"), OutputClosed);
  await assert.rejects(print(failing(new Error("No space left")), "t"), {
    name: "OutputError",
    message: "Cannot write output: No space left",
  });
});

Deno.test("printJson escapes what a terminal would obey", async () => {
  const sink = new MemorySink();
  await printJson(sink, "volume rm", ["\x1b\u009b\u2028é"]);
  assert.equal(sink.text, '[\n  "\\u001b\\u009b\\u2028é"\n]\n');
  assert.deepEqual(JSON.parse(sink.text), ["\x1b\u009b\u2028é"]);
});
