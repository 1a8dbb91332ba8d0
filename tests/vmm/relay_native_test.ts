import { join } from "node:path";
import { projectRoot, sanitizers } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";
import { needs, runTool } from "../support/tools.ts";

const cc = needs("cc");
const relay = join(projectRoot, "ffi", "relay");

/** Compiles a program with the relay in it. */
async function compile(name: string, folder: string, flags: readonly string[]): Promise<string> {
  const program = join(folder, name);
  const sources = Array.from(Deno.readDirSync(relay), (entry) => entry.name)
    .filter((file) => file.endsWith(".c")).map((file) => join(relay, file));
  const includes = [`-I${join(projectRoot, "ffi")}`, `-I${relay}`];
  const main = join(projectRoot, "tests", "vmm", `${name}.c`);
  await runTool("cc", ...flags, "-pthread", ...includes, "-o", program, main, ...sources);
  return program;
}

for (
  const [what, flags] of [
    ["the address sanitizer", sanitizers],
    ["the thread sanitizer", sanitizers.map((flag) => flag.replace("address,undefined", "thread"))],
  ] as const
) {
  Deno.test(`hutch_relay withstands frames of all kinds from all sides, by ${what}${cc.note}`, {
    ignore: cc.ignore,
  }, async () => {
    await using folder = new TempFolder();
    const program = await compile("relay_fuzz", folder.path, flags);
    for (const seed of ["1", "77", "20240229"]) await runTool(program, seed, "15", folder.path);
  });
}

Deno.test(`hutch_relay serves 1024 clients, and goes on without descriptors${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const program = await compile("relay_crowd", folder.path, sanitizers);
  await runTool(program, folder.path);
});

Deno.test(`hutch_relay hands frames over at once, and uses memory for what waits again${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  const flags = [...sanitizers, "-Wl,--wrap=malloc,--wrap=free"];
  await runTool(await compile("relay_flow", folder.path, flags), folder.path);
});

Deno.test(`hutch_relay_trim gives stack back, and nothing that somebody has${cc.note}`, {
  ignore: cc.ignore,
}, async () => {
  await using folder = new TempFolder();
  await runTool(await compile("relay_trim", folder.path, ["-O1", "-Wall", "-Werror"]));
});
