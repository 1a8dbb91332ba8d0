import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../src/cli/main.ts";
import { TempFolder } from "../support/temp.ts";
import { hutch, memoryIo } from "./helpers.ts";

Deno.test("hutch says in one line which plugin can't be loaded, with its cause when asked", async () => {
  await using folder = new TempFolder();
  const plugin = join(folder.path, "p.ts");
  const home = ["--home", join(folder.path, "home"), "--no-config"];
  await Deno.writeTextFile(plugin, 'throw new Error("boom");');
  const io = memoryIo();
  assert.equal(await main([...home, "--plugin", plugin, "ls"], io), 125);
  assert.equal(io.stdout.text, "");
  assert.equal(io.stderr.text, `hutch: Cannot load plugin ${JSON.stringify(plugin)}: boom\n`);
  const debugged = memoryIo();
  assert.equal(await main([...home, "--debug", "--plugin", plugin, "ls"], debugged), 125);
  assert.match(debugged.stderr.text, /caused by.*boom[\s\S]*p\.ts:1:/);
});

Deno.test("hutch loads no configuration for help, version and completions", async () => {
  await using folder = new TempFolder();
  const config = join(folder.path, "hutch.config.ts");
  await Deno.writeTextFile(config, "Deno.exit(77);");
  const home = join(folder.path, "home");
  await Deno.mkdir(home);
  const env = { HUTCH_CONFIG: config, HUTCH_HOME: home };
  const lines = [["help"], ["ls", "--help"], ["version"], ["completion", "bash"], [
    "__complete",
    "rm",
    "",
  ], ["ls", "--no-config"]];
  const results = await Promise.all(lines.map((line) => hutch(line, env)));
  assert.deepEqual(results.map(({ code, stderr }) => `${code}${stderr}`), lines.map(() => "0"));
  assert.equal((await hutch(["ls"], env)).code, 77); // it would have shown
});
