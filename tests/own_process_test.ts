import assert from "node:assert/strict";
import { join } from "node:path";
import { INTERCEPTOR_MODULE } from "../src/network/intercept/input.ts";
import { copyLock, ownLock, processFlags } from "../src/own_process.ts";
import { TempFolder } from "./support/temp.ts";
import { runTool } from "./support/tools.ts";

Deno.test("Processes find their packages by the lock file alone, as a program's own lock file leaves them", async () => {
  const { denoDir } = JSON.parse(await runTool(Deno.execPath(), "info", "--json"));
  await using folder = new TempFolder();
  const npm = join(folder.path, "npm");
  await runTool("cp", "-a", join(denoDir, "npm"), npm);
  await runTool("find", npm, "-name", "registry.json", "-delete"); // what registries say of packages
  const known = await Deno.readTextFile(new URL("../deno.lock", import.meta.url));
  const copy = join(folder.path, "lock");
  const keeper = import.meta.resolve("../src/runtime/keeper_process.ts");
  for (
    const [module, lock, last] of [
      [INTERCEPTOR_MODULE, ownLock(), /has no line/],
      [keeper, ownLock(), /Requires \w+ access/],
      [keeper, await copyLock(copy), /Requires \w+ access/],
    ] as const
  ) {
    assert(lock);
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", ...processFlags([module], lock), module],
      env: { DENO_DIR: folder.path },
      stdin: "null",
    }).output();
    assert.notEqual(code, 0);
    assert.match(new TextDecoder().decode(stderr), last, "it didn't come to its own first words");
  }
  assert.equal(await Deno.readTextFile(copy), known);
});
