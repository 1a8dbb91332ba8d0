/** Commands for named volumes: they need a home and the machine's busybox, but no virtual machine. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { main } from "../../src/cli/main.ts";
import { labelFilters } from "../../src/cli/volume_filters.ts";
import "../support/native.ts";
import { TempFolder } from "../support/temp.ts";
import { memoryIo } from "./helpers.ts";

Deno.test("hutch volume makes, lists, shows and removes volumes, but none that boxes have", async () => {
  await using folder = new TempFolder();
  const run = async (...args: string[]) => {
    const io = memoryIo();
    const code = await main(["--home", join(folder.path, "home"), "--no-config", ...args], io);
    return { code, stdout: io.stdout.text, stderr: io.stderr.text };
  };
  const ok = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  assert.equal(await ok("volume", "create", "-l", "team=web", "data"), "data\n");
  assert.equal(await ok("volume", "create", "data"), "data\n");
  assert.match(await ok("volume", "create", "--size", "64m"), /^vol-[0-9a-f]{12}\n$/);
  const bad = await run("volume", "create", "a/b");
  assert.match(bad.stderr, /Cannot name a volume "a\/b"/);
  const other = await run("volume", "create", "--size", "1g", "data");
  assert.match(other.stderr, /of 1024 MiB: there is one without a limit/);

  await ok("create", "--name", "web", "-v", "data:/data:ro", "builtin:busybox");
  const [, first = "", second = ""] = (await ok("volume", "ls")).split("\n");
  assert.match(first, /^data +.* ago +- +web$/);
  assert.match(second, /^vol-\w+ +.* ago +64 MiB +-$/);
  assert.equal(await ok("volume", "ls", "-q", "--filter", "label=team"), "data\n");
  const shown = JSON.parse(await ok("volume", "inspect", "data"));
  assert.deepEqual(shown.boxes.map(({ name }: { name: string }) => name), ["web"]);
  assert.deepEqual(shown.labels, { team: "web" });

  const used = await run("volume", "rm", "data", "nope");
  assert.equal(used.code, 125);
  assert.match(used.stderr, /Cannot remove volume "data": box "web" has it; remove the boxes/);
  assert.match(used.stderr, /Cannot find volume "nope": there is none/);
  assert.equal((await run("volume", "rm", "-f", "nope")).code, 0);
  assert.match((await run("volume", "inspect", "dtaa")).stderr, /did you mean "data"\?/);
  const prunable = await ok("volume", "prune", "-n");
  assert.match(prunable, /^vol-\w+\n$/);
  assert.equal(await ok("volume", "prune"), prunable);
  await ok("rm", "web");
  assert.equal(await ok("volume", "rm", "data"), "data\n");
  assert.deepEqual(JSON.parse(await ok("volume", "ls", "--json")), []);
});

Deno.test("labelFilters reads labels, and refuses the rest", () => {
  assert.deepEqual(labelFilters(["label=a", "label=b=c=d", "label=e="]), {
    a: true,
    b: "c=d",
    e: "",
  });
  for (const filter of ["", "label", "label=", "label==a", "name=a"]) {
    assert.throws(() => labelFilters([filter]), { code: "invalid_option" });
  }
});
