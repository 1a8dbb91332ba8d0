import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { buildModules } from "../../scripts/build_modules.ts";
import { boxProcessModule, BUILT, builtPath, isBuiltFrom } from "../../src/vmm/built_module.ts";
import { projectRoot } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";

/** A project whose modules to be built are small ones, with one that all of them import. */
async function project(folder: string): Promise<string> {
  const shared = join(folder, "src/shared.ts");
  for (const module of new Set(BUILT.flat())) {
    const path = join(folder, module);
    await Deno.mkdir(dirname(path), { recursive: true });
    const up = "../".repeat(module.split("/").length - 1);
    await Deno.writeTextFile(
      path,
      `import type { Never } from "${up}src/types.ts";
import { shared } from "${up}src/shared.ts";
const text: Never = shared;
export const main = (plan: string, runner = "none") => console.log(text, plan, runner);
export default "${module} and " + text;
`,
    );
  }
  await Deno.writeTextFile(shared, `export const shared = "shared";\n`);
  await Deno.writeTextFile(join(folder, "src/types.ts"), `export type Never = string;\n`);
  return shared;
}

async function resultsOf(folder: string): Promise<string[]> {
  return (await buildModules(folder)).map(({ result, problem = "" }) => `${result}${problem}`);
}

Deno.test("a box process is built into one file with each runner, and anew only when what it loads has changed", async () => {
  await using folder = new TempFolder();
  const shared = await project(folder.path);
  const all = (result: string) => BUILT.map(() => result);
  assert.deepEqual(await resultsOf(folder.path), all("built"));
  const built = BUILT.map((modules) => join(folder.path, builtPath(modules)));
  for (const [at, path] of built.entries()) {
    await using alone = new TempFolder(); // without what it was built from
    await Deno.copyFile(path, join(alone.path, "module.js"));
    const module = join(alone.path, "module.js");
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-lock", "--cached-only", module, "PLAN"],
      stderr: "inherit",
    }).output();
    const runner = BUILT[at]?.[1];
    const said = runner === undefined ? "none" : `${runner} and shared`;
    assert.equal(new TextDecoder().decode(stdout), `shared PLAN ${said}\n`);
  }
  assert.deepEqual(await resultsOf(folder.path), all("fresh"));
  // What is loaded for its types alone isn't loaded.
  await Deno.writeTextFile(join(folder.path, "src/types.ts"), `export type Never = "shared";\n`);
  assert.deepEqual(await resultsOf(folder.path), all("fresh"));
  await Deno.writeTextFile(shared, `export const shared = "others";\n`);
  for (const [at, modules] of BUILT.entries()) {
    assert.equal(isBuiltFrom(built[at] ?? "", modules, folder.path), false);
  }
  assert.deepEqual(await resultsOf(folder.path), all("built"));
  assert.match(await Deno.readTextFile(built[0] ?? ""), /others/);
  const left = [...Deno.readDirSync(join(folder.path, "build"))].map(({ name }) => name);
  assert.deepEqual(left.sort(), ["box_process.js", "libkrun_runner", "qemu_runner"]);
});

Deno.test("a module that can't be built is told, with the reason, and leaves nothing", async () => {
  await using folder = new TempFolder();
  const shared = await project(folder.path);
  await Deno.writeTextFile(shared, "export const shared = ;\n");
  for (const { result, problem } of await buildModules(folder.path)) {
    assert.equal(result, "failed");
    assert.match(problem ?? "", /error/i);
  }
  for (const modules of BUILT) {
    const made = dirname(join(folder.path, builtPath(modules)));
    assert.deepEqual([...Deno.readDirSync(made)].filter(({ isFile }) => isFile), []);
  }
});

Deno.test("what was built is taken where it fits its sources, and else the module itself", async () => {
  await using folder = new TempFolder();
  const [modules = []] = BUILT;
  const file = join(folder.path, "box_process.js");
  for (const text of ["", "// built from [", "// built from []\n", "export {};\n"]) {
    await Deno.writeTextFile(file, text);
    assert.equal(isBuiltFrom(file, modules, projectRoot), false, text);
  }
  assert.equal(isBuiltFrom(join(folder.path, "none"), modules, projectRoot), false);
  for (const runner of ["https://example.com/plugins/engines/qemu_runner.ts", import.meta.url]) {
    const { url, hasRunner } = boxProcessModule(runner);
    assert.match(url, /\/(build\/box_process\.js|src\/vmm\/box_process\.ts)$/);
    assert.equal(hasRunner, false);
  }
  const { url, hasRunner } = boxProcessModule(
    import.meta.resolve("../../plugins/engines/qemu_runner.ts"),
  );
  assert.match(
    url,
    hasRunner ? /\/build\/qemu_runner\/box_process\.js$/ : /\/src\/vmm\/box_process\.ts$/,
  );
});
