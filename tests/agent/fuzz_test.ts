import { join } from "node:path";
import { needs, runTool } from "../support/tools.ts";
import { TempFolder } from "../support/temp.ts";
import { projectRoot, sanitizers } from "./native.ts";

const parts = ["frames.c", "request.c", "exec_limits.c", "failure.c", "cbor_in.c"].map((name) =>
  join(projectRoot, "ffi", "agent", name)
);
const target = join(projectRoot, "tests", "agent", "fuzz_frames.c");

const cc = needs("cc");
const clang = needs("clang");

Deno.test(`frames_parse and request_parse withstand mangled frames${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "fuzz");
  const include = `-I${join(projectRoot, "ffi")}`;
  await runTool("cc", ...sanitizers, "-DHUTCH_FUZZ_MAIN", include, "-o", program, target, ...parts);
  for (const seed of ["1", "77", "20240229"]) await runTool(program, seed, "10000");
});

Deno.test(`frames_parse and request_parse withstand libFuzzer${clang.note}`, {
  ignore: clang.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "fuzz");
  const flags = sanitizers.map((flag) => flag.replace("-fsanitize=", "-fsanitize=fuzzer,"));
  await runTool(
    "clang",
    ...flags,
    `-I${join(projectRoot, "ffi")}`,
    "-o",
    program,
    target,
    ...parts,
  );
  const options = [
    "-seed=1",
    "-runs=30000",
    "-max_len=4096",
    "-max_total_time=20",
    `-artifact_prefix=${folder.path}/`,
  ];
  await runTool(program, ...options);
});
