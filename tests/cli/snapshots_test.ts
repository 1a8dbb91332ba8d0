/** Commands for snapshots and clones: they need a home and the machine's busybox, but no machine. */
import assert from "node:assert/strict";
import { main } from "../../src/cli/main.ts";
import { formatSnapshots } from "../../src/cli/snapshot_ls.ts";
import { makeDoubleHome } from "../doubles/home.ts";
import "../support/native.ts";
import { memoryIo } from "./helpers.ts";

Deno.test("hutch snapshot and clone take, list, compare, restore and remove", async () => {
  const home = await makeDoubleHome();
  const run = async (...args: string[]) => {
    const io = memoryIo();
    const code = await main(["--home", home, "--no-config", ...args], io);
    return { code, stdout: io.stdout.text, stderr: io.stderr.text };
  };
  const ok = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  try {
    await ok("create", "--name", "web", "builtin:busybox");
    assert.equal(await ok("snapshot", "create", "-l", "a=b", "web", "first"), "first\n");
    assert.match(await ok("snapshot", "create", "web"), /^\d{4}-\d\d-\d\dT[\d.-]+Z\n$/);
    const taken = await run("snapshot", "create", "web", "first");
    assert.equal(taken.code, 125);
    assert.match(taken.stderr, /Cannot make snapshot "first": the box has one of this name/);
    assert.match(
      await ok("snapshot", "ls", "web"),
      /^NAME +CREATED .*\nfirst +.* ago +0 B +- +stopped +a=b\n/,
    );
    const [first] = JSON.parse(await ok("snapshot", "ls", "--json", "web"));
    assert.deepEqual([first.name, first.labels], ["first", { a: "b" }]);
    assert.equal(await ok("snapshot", "diff", "web", "first"), "0 blocks, 0 B\n");
    assert.equal(JSON.parse(await ok("snapshot", "diff", "--json", "web", "first")).blocks, 0);
    assert.equal(await ok("snapshot", "restore", "web", "first"), "");
    const missing = await run("snapshot", "restore", "web", "nope");
    assert.match(
      missing.stderr,
      /Cannot find snapshot "nope" of box "web": there is none; hutch snapshot ls web/,
    );
    for (
      const words of [["snapshot", "rm", "web", "frist"], ["clone", "--snapshot", "frist", "web"], [
        "create",
        "--from",
        "web/frist",
      ]]
    ) {
      assert.match((await run(...words)).stderr, /there is none; did you mean "first"\?/);
    }
    assert.equal(await ok("clone", "web", "copy"), "copy\n");
    assert.equal(await ok("clone", "-n", "2", "--snapshot", "first", "web", "n"), "n-1\nn-2\n");
    const [made] = JSON.parse(await ok("clone", "--json", "-l", "c=d", "web", "other"));
    assert.deepEqual([made.name, made.config.labels], ["other", { c: "d" }]);
    assert.match((await run("clone", "-n", "x", "web")).stderr, /Cannot read --count/);
    const kept = await run("snapshot", "create", "--memory", "web", "m");
    assert.match(kept.stderr, /Cannot keep the memory of box "web": it is configured; start it/);
    const disk = await run("create", "--from", "web/first");
    assert.match(disk.stderr, /Cannot go on from snapshot "first" of box "web": it has the disk/);
    const main = await run("run", "-d", "--from", "web/first", "true");
    assert.match(main.stderr, /Cannot use --from with a main command/);
    assert.match((await run("run", "--from", "web")).stderr, /it is no BOX\/SNAPSHOT/);
    assert.equal(await ok("snapshot", "rm", "web", "first"), "first\n");
    assert.equal((await run("snapshot", "rm", "web", "first")).code, 125);
    assert.equal(await ok("snapshot", "rm", "-f", "--json", "web", "first"), "[]\n");
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});

Deno.test("formatSnapshots shows no control characters of labels", () => {
  const table = formatSnapshots([{
    ...{ id: "0".repeat(12), box: "1".repeat(12), name: "a", createdAt: "2026-01-01T00:00:00Z" },
    ...{ labels: { x: "\x1b[2J" }, backing: null, consistency: "crash", diskMiB: 1, bytes: 2048 },
    ...{ memory: false, memoryBytes: 0 },
  }], Date.parse("2026-01-01T00:01:00Z"));
  assert.ok(!table.includes("\x1b"));
  assert.match(table, /crash/);
});
