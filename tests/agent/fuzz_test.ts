import { join } from "node:path";
import { needs, runTool } from "../support/tools.ts";
import { TempFolder } from "../support/temp.ts";
import { projectRoot, sanitizers } from "./native.ts";

/** A reader of what comes from the host, and the sources it is made of. */
const targets: readonly (readonly [name: string, target: string, parts: readonly string[]])[] = [
  ["frames_parse and request_parse withstand", "fuzz_frames.c", [
    ...["frames.c", "request.c", "exec_limits.c", "failure.c", "cbor_in.c"],
  ]],
  ["files_request_parse withstands", "fuzz_files.c", ["files_request.c", "cbor_in.c"]],
];

const cc = needs("cc");
const clang = needs("clang");

for (const [name, target, parts] of targets) {
  const sources = [
    join(projectRoot, "tests", "agent", target),
    ...parts.map((part) => join(projectRoot, "ffi", "agent", part)),
  ];
  const include = `-I${join(projectRoot, "ffi")}`;

  Deno.test(`${name} mangled frames${cc.note}`, { ignore: cc.ignore }, async () => {
    await using folder = new TempFolder();
    const program = join(folder.path, "fuzz");
    await runTool("cc", ...sanitizers, "-DHUTCH_FUZZ_MAIN", include, "-o", program, ...sources);
    for (const seed of ["1", "77", "20240229"]) await runTool(program, seed, "10000");
  });

  Deno.test(`${name} libFuzzer${clang.note}`, { ignore: clang.ignore }, async () => {
    await using folder = new TempFolder();
    const program = join(folder.path, "fuzz");
    const flags = sanitizers.map((flag) => flag.replace("-fsanitize=", "-fsanitize=fuzzer,"));
    await runTool("clang", ...flags, include, "-o", program, ...sources);
    const options = [
      "-seed=1",
      "-runs=30000",
      "-max_len=4096",
      "-max_total_time=20",
      `-artifact_prefix=${folder.path}/`,
    ];
    await runTool(program, ...options);
  });
}
