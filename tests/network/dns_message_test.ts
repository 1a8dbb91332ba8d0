import assert from "node:assert/strict";
import { join } from "node:path";
import { projectRoot, sanitizers } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const cc = needs("cc");

Deno.test(`a name in a question has 255 bytes at the most, whatever its labels${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "cases");
  const include = `-I${join(projectRoot, "ffi")}`;
  const sources = [
    join(projectRoot, "tests/network/dns_message_cases.c"),
    ...["address.c", "dns_message.c"].map((name) => join(projectRoot, "ffi/net", name)),
  ];
  await runTool("cc", ...sanitizers, include, "-o", program, ...sources);
  assert.equal(await runTool(program), "ok\n");
});
