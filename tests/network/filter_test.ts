import assert from "node:assert/strict";
import { join } from "node:path";
import { projectRoot, sanitizers } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const include = `-I${join(projectRoot, "ffi")}`;
const parts = [
  ...["address.c", "dns_message.c", "filter.c", "flows.c", "greeting.c", "names.c", "packet.c"],
  ...["policy.c", "policy_read.c", "tally.c"],
].map((name) => join(projectRoot, "ffi", "net", name));
const source = (name: string) => join(projectRoot, "tests", "network", name);
const cc = needs("cc");
const clang = needs("clang");

Deno.test(`filter_guest and filter_host let through what the policy allows${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "cases");
  await runTool("cc", ...sanitizers, include, "-o", program, source("filter_cases.c"), ...parts);
  assert.equal(await runTool(program), "ok\n");
});

Deno.test(`what a conversation carries is told of, whatever the guest says of its end${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "cases");
  await runTool("cc", ...sanitizers, include, "-o", program, source("tally_cases.c"), ...parts);
  assert.equal(await runTool(program), "ok\n");
});

Deno.test(`address_is_own knows each address of this machine, however many it has${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "cases");
  const address = join(projectRoot, "ffi", "net", "address.c");
  await runTool("cc", ...sanitizers, include, "-o", program, source("own_cases.c"), address);
  assert.equal(await runTool(program), "ok\n");
});

Deno.test(`filter_guest, filter_host and dns_read_question withstand mangled bytes${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "fuzz");
  const flags = [...sanitizers, "-DHUTCH_FUZZ_MAIN", include];
  await runTool("cc", ...flags, "-o", program, source("fuzz_filter.c"), ...parts);
  for (const seed of ["1", "77", "20240229"]) await runTool(program, seed, "30000");
});

Deno.test(`filter_guest, filter_host and dns_read_question withstand libFuzzer${clang.note}`, {
  ignore: clang.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = join(folder.path, "fuzz");
  const flags = sanitizers.map((flag) => flag.replace("-fsanitize=", "-fsanitize=fuzzer,"));
  await runTool("clang", ...flags, include, "-o", program, source("fuzz_filter.c"), ...parts);
  const limits = ["-seed=1", "-runs=60000", "-max_len=2048", "-max_total_time=20"];
  await runTool(program, ...limits, `-artifact_prefix=${folder.path}/`);
});
