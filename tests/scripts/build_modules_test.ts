import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { buildModules } from "../../scripts/build_modules.ts";
import { BUILT_MODULES, builtModule, builtPath, isBuiltFrom } from "../../src/vmm/built_module.ts";
import { projectRoot } from "../agent/native.ts";
import { TempFolder } from "../support/temp.ts";

/** A project whose modules to be built are small ones, with one that all of them import. */
async function project(folder: string): Promise<string> {
  const shared = join(folder, "src/shared.ts");
  for (const module of BUILT_MODULES) {
    const path = join(folder, module);
    await Deno.mkdir(dirname(path), { recursive: true });
    const up = "../".repeat(module.split("/").length - 1);
    await Deno.writeTextFile(
      path,
      `import type { Never } from "${up}src/types.ts";
import { shared } from "${up}src/shared.ts";
const text: Never = shared;
if (import.meta.main) console.log(text);
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

Deno.test("modules are built into one file each, and anew only when what they load has changed", async () => {
  await using folder = new TempFolder();
  const shared = await project(folder.path);
  const all = (result: string) => BUILT_MODULES.map(() => result);
  assert.deepEqual(await resultsOf(folder.path), all("built"));
  const built = BUILT_MODULES.map((module) => join(folder.path, builtPath(module)));
  for (const path of built) {
    await using alone = new TempFolder(); // without what it was built from
    await Deno.copyFile(path, join(alone.path, "module.js"));
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-config", "--no-lock", "--cached-only", join(alone.path, "module.js")],
      stderr: "inherit",
    }).output();
    assert.equal(new TextDecoder().decode(stdout), "shared\n");
  }
  assert.deepEqual(await resultsOf(folder.path), all("fresh"));
  // What is loaded for its types alone isn't loaded.
  await Deno.writeTextFile(join(folder.path, "src/types.ts"), `export type Never = "shared";\n`);
  assert.deepEqual(await resultsOf(folder.path), all("fresh"));
  await Deno.writeTextFile(shared, `export const shared = "others";\n`);
  for (const [at, module] of BUILT_MODULES.entries()) {
    assert.equal(isBuiltFrom(built[at] ?? "", module, folder.path), false);
  }
  assert.deepEqual(await resultsOf(folder.path), all("built"));
  assert.match(await Deno.readTextFile(built[0] ?? ""), /others/);
});

Deno.test("a module that can't be built is told, with the reason, and leaves nothing", async () => {
  await using folder = new TempFolder();
  const shared = await project(folder.path);
  await Deno.writeTextFile(shared, "export const shared = ;\n");
  for (const { result, problem } of await buildModules(folder.path)) {
    assert.equal(result, "failed");
    assert.match(problem ?? "", /error/i);
  }
  assert.deepEqual([...Deno.readDirSync(join(folder.path, "build"))], []);
});

Deno.test("what was built is taken where it fits its sources, and else the module itself", async () => {
  await using folder = new TempFolder();
  const [module = ""] = BUILT_MODULES;
  const file = join(folder.path, "box_process.js");
  for (const text of ["", "// built from [", "// built from []\n", "export {};\n"]) {
    await Deno.writeTextFile(file, text);
    assert.equal(isBuiltFrom(file, module, projectRoot), false, text);
  }
  assert.equal(isBuiltFrom(join(folder.path, "none"), module, projectRoot), false);
  for (const url of ["https://example.com/src/vmm/box_process.ts", import.meta.url]) {
    assert.equal(builtModule(url), url);
  }
  const own = import.meta.resolve("../../src/vmm/box_process.ts");
  assert.match(builtModule(own), /\/(build\/box_process\.js|src\/vmm\/box_process\.ts)$/);
});
