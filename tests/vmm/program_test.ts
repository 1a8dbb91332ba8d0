import assert from "node:assert/strict";
import { boxLibraryPath } from "../../ffi/library.ts";
import { startProgram } from "../../src/vmm/program.ts";
import "../support/native.ts";

const PATH = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

for (
  const [env, seen] of [
    [undefined, [PATH]],
    [{ A: "b c", B: "" }, [PATH, "A=b c", "B="]],
    [{ PATH: "/bin" }, ["PATH=/bin"]],
  ] as const
) {
  Deno.test(`startProgram gives a program ${seen.join(" and ")}, and nothing of this process`, async () => {
    // It lives on until it has been heard: what ends isn't listened to any more.
    const script = `tr '\\0' ',' < /proc/$$/environ; echo; read line`;
    const program = await startProgram(boxLibraryPath(), {
      command: ["/bin/sh", "-c", script],
      asked: true,
      ...env ? { env } : {},
    });
    const line = await program.ask();
    program.kill();
    await program.ended;
    assert.deepEqual(line?.split(",").sort(), ["", ...seen].sort());
  });
}
