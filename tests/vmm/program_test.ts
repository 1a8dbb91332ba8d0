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
    const command = ["/usr/bin/env"] as const;
    const program = await startProgram(boxLibraryPath(), {
      command,
      asked: true,
      ...env ? { env } : {},
    });
    const lines: string[] = [];
    for (let line; (line = await program.ask()) !== undefined;) lines.push(line);
    assert.deepEqual(lines.sort(), [...seen].sort());
    assert.equal((await program.ended).code, 0);
  });
}
