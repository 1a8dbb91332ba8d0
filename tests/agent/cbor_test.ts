import { join } from "node:path";
import { needs, runTool } from "../support/tools.ts";
import { TempFolder } from "../support/temp.ts";
import { projectRoot, sanitizers } from "./native.ts";

const cc = needs("cc");

Deno.test(`the agent's CBOR is libcbor's${cc.note}`, { ignore: cc.ignore }, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "cbor");
  await runTool(
    "cc",
    ...sanitizers,
    `-I${join(projectRoot, "ffi")}`,
    ...["-o", program, join(projectRoot, "tests", "agent", "cbor_against_libcbor.c")],
    ...["cbor_in.c", "cbor_out.c"].map((name) => join(projectRoot, "ffi", "agent", name)),
    "-lcbor",
  );
  for (const seed of ["1", "5150", "987654321"]) await runTool(program, seed, "4000");
});
