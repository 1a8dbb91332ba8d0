import assert from "node:assert/strict";
import { StandIn } from "../support/stand_in.ts";
import { TempFolder } from "../support/temp.ts";
import { RUN, TEST_ENGINE, until, withHome } from "./support.ts";

async function processesWith(word: string): Promise<number> {
  let count = 0;
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const line = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (line.includes(word)) count++;
  }
  return count;
}

// Nothing in it depends on the engine.
Deno.test({
  name: "a compiled program is its own box process and keeper (deno compile itself wasn't run)",
  ignore: TEST_ENGINE !== "qemu",
  fn: () =>
    withHome(async (home) => {
      await using folder = new TempFolder();
      const program = await StandIn.make(folder.path);
      const env = { HUTCH_HOME: home };
      const hutch = async (...args: string[]) => {
        const { code, stdout, stderr } = await program.run(["--no-config", ...args], env);
        assert.deepEqual([code, stderr], [0, ""], args.join(" "));
        return stdout;
      };
      const box = ["--name", "web", "--restart", "always", ...RUN, "builtin:busybox"];
      await hutch("run", "-d", ...box, "sleep", "1000");
      assert.equal(await hutch("exec", "web", "echo", "hi"), "hi\n");
      const { pid, id } = JSON.parse(await hutch("inspect", "web"));
      const commandLine = await Deno.readTextFile(`/proc/${pid}/cmdline`);
      assert.ok(commandLine.includes("stand-in-first.ts"), commandLine);
      assert.ok(!commandLine.includes(id), "it was told nothing by arguments");
      assert.equal(await processesWith(folder.path), 2, "the box's process and its keeper");
      await hutch("rm", "-f", "web");
      // Nothing in their arguments names the home, so the look at what is left doesn't see them.
      const left = () => processesWith(folder.path);
      await until(async () => await left() === 0, async () => `${await left()} processes are left`);
    }),
});
